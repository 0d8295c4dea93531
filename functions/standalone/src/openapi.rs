//! `standalone openapi`: the API described in one document.

use std::error::Error;

use platform::web;

/// Prints the document, as `functions/discovery/openapi.json` keeps it.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) fn print() -> Result<(), Box<dyn Error + Send + Sync>> {
    let parts = [
        acquire::api().into_openapi(),
        heartbeat::api().into_openapi(),
        release::api().into_openapi(),
        validate::api().into_openapi(),
        admin::api().into_openapi(),
        discovery::api().into_openapi(),
    ];
    println!("{}", serde_json::to_string_pretty(&web::describe(parts))?);
    Ok(())
}
