use std::sync::{Mutex, PoisonError, mpsc};

use super::*;

/// A hang guard: it judges no speed.
const GUARD: Duration = Duration::from_secs(600);

/// Takes what it is told to take, and then fails.
#[derive(Clone, Default)]
struct Output {
    taken: Arc<Mutex<Vec<u8>>>,
    room: Arc<AtomicUsize>,
    failure: Option<ErrorKind>,
}

impl Output {
    fn with_room(room: usize, failure: ErrorKind) -> Self {
        Self { room: Arc::new(room.into()), failure: Some(failure), ..Self::default() }
    }

    fn text(&self) -> String {
        String::from_utf8(self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room.load(Ordering::Acquire));
        if let (0, Some(failure)) = (count, self.failure) {
            return Err(failure.into());
        }
        self.room.fetch_sub(count, Ordering::AcqRel);
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn lines_are_written_in_order_and_flushed_at_the_end() {
    let output = Output::with_room(usize::MAX, ErrorKind::StorageFull);
    let log = Log::onto(output.clone());
    let lines: Vec<String> = (0..1000).map(|line| format!("{line}\n")).collect();
    for line in &lines {
        log.line(line.as_bytes());
    }
    log.flush(GUARD).await;
    assert_eq!(output.text(), lines.concat());
    assert_eq!(log.dropped.get(), 0);
}

#[tokio::test]
async fn full_disk_loses_lines_counts_them_and_keeps_lines_apart() {
    let output = Output::with_room(6, ErrorKind::StorageFull);
    let log = Log::onto(output.clone());
    for line in ["one\n", "two\n", "three\n"] {
        log.line(line.as_bytes());
    }
    log.flush(GUARD).await;
    assert_eq!((output.text().as_str(), log.dropped.get()), ("one\ntw", 2));
    output.room.store(usize::MAX, Ordering::Release);
    log.line(b"four\n");
    log.flush(GUARD).await;
    assert_eq!((output.text().as_str(), log.dropped.get()), ("one\ntw\nfour\n", 2));
}

#[tokio::test]
async fn output_that_takes_nothing_for_a_while_loses_nothing() {
    let output = Output::with_room(2, ErrorKind::WouldBlock);
    let log = Log::onto(output.clone());
    log.line(b"one\n");
    while output.text() != "on" {
        sleep(PAUSE).await;
    }
    output.room.store(usize::MAX, Ordering::Release);
    log.flush(GUARD).await;
    assert_eq!((output.text().as_str(), log.dropped.get()), ("one\n", 0));
}

/// An output that takes nothing until the other end is dropped, as a full pipe that nobody reads.
struct Stuck(mpsc::Receiver<()>);

impl Stuck {
    fn new() -> (mpsc::Sender<()>, Self) {
        let (unread, stuck) = mpsc::channel();
        (unread, Self(stuck))
    }
}

impl Write for Stuck {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(0)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn pipe_that_nobody_reads_loses_what_the_queue_does_not_hold() {
    let (_unread, stuck) = Stuck::new();
    let log = Log::onto(stuck);
    for _ in 0..LINES + 10 {
        log.line(b"a line\n");
    }
    // One may be with the thread already.
    assert!((9..=10).contains(&log.dropped.get()), "{}", log.dropped.get());
    // It comes back.
    log.flush(Duration::from_millis(20)).await;
}

#[test]
fn long_lines_fill_the_queue_by_their_bytes() {
    let (_unread, stuck) = Stuck::new();
    let log = Log::onto(stuck);
    let line = vec![b'x'; BYTES / 4];
    for _ in 0..6 {
        log.line(&line);
    }
    assert_eq!(log.dropped.get(), 2);
}
