#![doc = include_str!("../README.md")]

mod access_tokens;
mod answer;
mod asked;
mod audit;
mod audit_events;
mod caller;
mod change;
mod creation;
mod export;
mod guard;
mod hardware_blocks;
mod licenses;
mod named;
mod operations;
mod page;
mod parts;
mod read;
mod sessions;
pub mod statements;
mod store;
mod tenants;
mod usage;
mod users;
mod version;

use axum::{Router, middleware};
use utoipa_axum::router::OpenApiRouter;

pub use operations::{Operation, Whose, operations};
pub use parts::{AdminParts, AdminSettings};
pub use store::Store;

/// The function's routes, with the guard before them.
pub fn router(parts: AdminParts) -> Router {
    let routes: Router = api().with_state(parts.clone()).into();
    routes.route_layer(middleware::from_fn_with_state(parts, guard::guard))
}

/// The routes and their descriptions.
#[must_use]
pub fn api() -> OpenApiRouter<AdminParts> {
    let mut api = OpenApiRouter::new()
        .merge(tenants::routes())
        .merge(users::routes())
        .merge(access_tokens::routes())
        .merge(licenses::routes())
        .merge(sessions::routes())
        .merge(hardware_blocks::routes())
        .merge(usage::routes())
        .merge(audit_events::routes());
    operations::describe(api.get_openapi_mut());
    api
}
