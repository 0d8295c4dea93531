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
mod identity_guard;
mod invitations;
mod licenses;
mod me;
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

pub use identity_guard::{IdentityOperation, identity_operations};
pub use operations::{Operation, Whose, operations};
pub use parts::{AdminParts, AdminSettings};
pub use store::Store;

/// The function's routes, with the guard before them.
pub fn router(parts: AdminParts) -> Router {
    let of_tenants: Router = api_of_tenants().with_state(parts.clone()).into();
    let of_identities: Router = api_of_identities().with_state(parts.clone()).into();
    of_tenants
        .route_layer(middleware::from_fn_with_state(parts.clone(), guard::guard))
        .merge(of_identities.route_layer(middleware::from_fn_with_state(parts, identity_guard::guard)))
}

/// The routes and their descriptions.
#[must_use]
pub fn api() -> OpenApiRouter<AdminParts> {
    let mut api = api_of_tenants().merge(api_of_identities());
    operations::describe(api.get_openapi_mut());
    api
}

/// What takes a good credential and no membership.
fn api_of_identities() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().merge(me::routes()).merge(invitations::routes())
}

/// What takes a permission in a tenant, or over all.
fn api_of_tenants() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new()
        .merge(tenants::routes())
        .merge(users::routes())
        .merge(access_tokens::routes())
        .merge(licenses::routes())
        .merge(sessions::routes())
        .merge(hardware_blocks::routes())
        .merge(usage::routes())
        .merge(audit_events::routes())
}
