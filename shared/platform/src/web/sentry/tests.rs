use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse,
};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::{
    Secret,
    web::{TraceContext, caught},
};

type Told = (Uri, HeaderMap, Vec<Value>);

async fn serve(listener: tokio::net::TcpListener, app: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let app = hyper_util::service::TowerToHyperService::new(app.clone());
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), app).await;
    }
}

/// A server that takes `takes` envelopes and then wants to be left alone.
async fn sentry(takes: usize) -> (String, mpsc::UnboundedReceiver<Told>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dsn = format!("http://hunter2@{}/42", listener.local_addr().unwrap());
    let (tell, ear) = mpsc::unbounded_channel::<Told>();
    let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(takes));
    let take = async move |State(tell): State<mpsc::UnboundedSender<Told>>, uri: Uri, head: HeaderMap, body: Bytes| {
        let lines = std::str::from_utf8(&body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        tell.send((uri, head, lines)).unwrap();
        match left.load(std::sync::atomic::Ordering::SeqCst) {
            0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "30")]).into_response(),
            some => {
                left.store(some - 1, std::sync::atomic::Ordering::SeqCst);
                StatusCode::OK.into_response()
            }
        }
    };
    tokio::spawn(serve(listener, Router::new().fallback(take).with_state(tell)));
    (dsn, ear)
}

fn settings(dsn: &str) -> TelemetrySettings {
    TelemetrySettings {
        sentry_dsn: Some(Secret::from(dsn.to_owned())),
        google_cloud_project: Some("coditect-dev".to_owned()),
        ..TelemetrySettings::default()
    }
}

#[tokio::test]
async fn an_error_and_a_panic_arrive_with_their_trace_and_without_people() {
    let (dsn, mut ear) = sentry(usize::MAX).await;
    assert!(!format!("{:?}", settings(&dsn)).contains("hunter2"));
    start("acquire", &settings(&dsn), &mut Registry::default()).unwrap();
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Reports));
    let trace = TraceContext::continuing(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    trace
        .scope(async {
            tracing::warn!("no error");
            tracing::error!(request_id = "request-42", error = "ada@example.com is twice", "internal error");
        })
        .await;
    let _ = std::thread::spawn(|| panic!("a bug")).join();
    let panicked = caught(async { panic!("another, of ada@example.com") }).await.map_err(|panic| panic.to_string());
    let error = panicked.unwrap_err();
    tracing::error!(error, "internal error");
    finish().await;

    let (uri, head, lines) = ear.recv().await.unwrap();
    assert_eq!((uri.path(), &head["content-type"]), ("/api/42/envelope/", &"application/x-sentry-envelope".parse().unwrap()));
    assert!(head["x-sentry-auth"].to_str().unwrap().ends_with("sentry_key=hunter2"));
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[0]["event_id"], &lines[1]["type"]), (&lines[2]["event_id"], &json!("event")));
    assert_eq!(lines[1]["length"], lines[2].to_string().len());
    let event = &lines[2];
    assert_eq!(event["contexts"]["trace"]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(event["contexts"]["trace"]["span_id"], trace.span_id());
    assert_eq!((&event["level"], &event["tags"]["request_id"]), (&json!("error"), &json!("request-42")));
    assert_eq!((&event["server_name"], &event["environment"]), (&json!("acquire"), &json!("coditect-dev")));
    assert!(event["release"].as_str().unwrap().starts_with("coditect@"));
    assert_eq!(event["logentry"]["formatted"], "internal error: [private] is twice");
    assert!(!lines.iter().any(|line| line.to_string().contains("hunter2")));

    let (_, _, lines) = ear.recv().await.unwrap();
    assert_eq!(lines[2]["level"], "fatal");
    assert!(lines[2]["logentry"]["formatted"].as_str().unwrap().starts_with("panic: a bug, at shared/platform/src/web/sentry/tests.rs:"));
    // One that was caught is told once, by whoever has caught it.
    let (_, _, lines) = ear.recv().await.unwrap();
    assert_eq!(lines[2]["level"], "error");
    let text = lines[2]["logentry"]["formatted"].as_str().unwrap();
    assert!(
        text.starts_with("internal error: another, of [private]") && text.contains("at shared/platform/src/web/sentry/tests.rs:"),
        "{text}"
    );
    assert!(ear.try_recv().is_err());
}

#[tokio::test]
async fn whoever_is_asked_to_be_silent_is() {
    let (dsn, mut ear) = sentry(1).await;
    let (queue, waiting) = mpsc::channel(WAITING);
    let lost = Counter::default();
    for number in 0..5 {
        queue.send(Queued::Event(json!({ "event_id": number.to_string() }))).await.unwrap();
    }
    drop(queue);
    send_all(dsn.parse().unwrap(), waiting, lost.clone()).await;
    assert!(ear.recv().await.is_some() && ear.recv().await.is_some() && ear.try_recv().is_err());
    assert_eq!(lost.get(), 4);
}

/// Time stands still but for what is waited for, so that a busy machine changes nothing.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_delays_nothing() {
    // It takes connections, and says nothing.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (queue, waiting) = mpsc::channel(WAITING);
    let lost = Counter::default();
    let dsn = format!("http://hunter2@{}/42", dead.local_addr().unwrap());
    tokio::spawn(send_all(dsn.parse().unwrap(), waiting, lost.clone()));
    let origin = Origin { service: "acquire", release: String::new(), environment: None };
    let _ = REPORTER.set(Reporter { queue, lost: lost.clone(), origin });
    let begun = tokio::time::Instant::now();
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(Reports));
    // Nothing else runs meanwhile: what does not fit into the queue is lost at once.
    for number in 0..1000 {
        tracing::error!(number, "internal error");
    }
    assert_eq!((lost.get(), begun.elapsed()), (1000 - WAITING as u64, Duration::ZERO));
    finish().await;
    assert!((LAST..LAST + Duration::from_millis(10)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    // Each of those that fit is given up in time.
    let (done, sent) = oneshot::channel();
    REPORTER.get().unwrap().queue.send(Queued::Flush(done)).await.unwrap();
    sent.await.unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(3) * u32::try_from(WAITING).unwrap());
    assert_eq!(lost.get(), 1000);
}

#[tokio::test]
async fn a_dsn_that_is_none_is_an_error_and_without_one_it_is_off() {
    assert_eq!(start("acquire", &settings("hunter2"), &mut Registry::default()), Err(InvalidDsn));
    for off in [settings(""), TelemetrySettings::default()] {
        assert_eq!(start("acquire", &off, &mut Registry::default()), Ok(()));
    }
    assert!(REPORTER.get().is_none());
    finish().await;
}
