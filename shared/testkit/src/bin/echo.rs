//! The bench's reference point: a bare axum server that reads a JSON body and sends it back.

use axum::{Json, Router, routing::post};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new().route("/", post(async |Json(body): Json<serde_json::Value>| Json(body)));
    let port = std::env::var("PORT").map_err(std::io::Error::other)?;
    axum::serve(tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?, app).await
}
