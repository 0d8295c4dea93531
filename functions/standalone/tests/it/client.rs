//! A client that knows the contract.

use reqwest::{Client, Response};
use serde_json::{Value, json};
use testkit::{Customer, Process, TestDatabase, policy, redis_settings};

use crate::described;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_standalone");
pub(crate) const OPERATIONS: [&str; 4] = ["acquire", "heartbeat", "release", "validate"];

/// A running platform with one customer.
pub(crate) struct Platform {
    pub(crate) process: Process,
    pub(crate) database: TestDatabase,
    pub(crate) customer: Customer,
    pub(crate) http: Client,
}

impl Platform {
    pub(crate) async fn start(seats: u32) -> Self {
        Self::start_with(seats, &[]).await
    }

    /// The same, with further settings.
    pub(crate) async fn start_with(seats: u32, settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::new().await;
        let redis = redis_settings();
        let process = Process::start_with(BINARY, &["serve"], database.url(), redis.redis_url.expose(), settings).await;
        let customer = database.customer(policy(seats)).await;
        // A connection for each request: one that the server has closed is never taken for a fault.
        let http = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { process, database, customer, http }
    }

    pub(crate) fn applicant(&self, device: &str) -> Value {
        json!({ "license_key": self.customer.key.reveal(), "hardware_id": device, "user_email": "user@test.example" })
    }

    pub(crate) async fn post(&self, operation: &str, body: &Value) -> Answer {
        Answer::of(self.request(operation).json(body).send().await.unwrap()).await
    }

    pub(crate) fn request(&self, operation: &str) -> reqwest::RequestBuilder {
        self.http.post(format!("{}/api/v1/licenses/{operation}", self.process.url))
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let path = response.url().path().to_owned();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let answer = Self { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text };
        described::check(&path, &answer);
        answer
    }

    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// Holds the answer to what every problem document must be.
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code()), (status, code), "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["request_id"].as_str(), self.headers["x-request-id"].to_str().ok());
        for member in ["type", "title", "detail"] {
            assert!(self.body[member].is_string(), "{member}: {}", self.text);
        }
    }
}
