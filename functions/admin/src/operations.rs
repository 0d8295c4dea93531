//! Every operation there is, and what it takes: the one table that the guard, the tests and the documentation share.
//!
//! Each resource has its own rows beside its handlers.

use platform::domain::{Permission, Standing};
use utoipa::openapi::{self, OpenApi};

use crate::{access_tokens, audit_events, hardware_blocks, licenses, sessions, tenants, usage, users};

/// One operation of the administration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Operation {
    /// Its name: the id in the OpenAPI document, and what audit events call a refused attempt at it.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path as routes have it, with `{id}` where an id is.
    pub path: &'static str,
    /// What a caller must be permitted.
    pub permission: Permission,
    /// Whose affairs it is about.
    pub whose: Whose,
}

/// Whose affairs an operation is about, and so whom staff must name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Whose {
    /// One tenant's. Staff name it in `x-tenant-id`.
    Tenant,
    /// One tenant's, or those of no tenant. Staff name it in `x-tenant-id`, where `none` stands for the latter.
    TenantOrNone,
    /// Those of the tenant whose id is in the path.
    PathsTenant,
    /// Those of all tenants, or of the one that staff name in `x-tenant-id`.
    All,
}

impl Operation {
    pub(crate) const fn new(name: &'static str, method: &'static str, path: &'static str, permission: Permission) -> Self {
        Self { name, method, path, permission, whose: Whose::Tenant }
    }

    /// The same, about these affairs.
    pub(crate) const fn about(self, whose: Whose) -> Self {
        Self { whose, ..self }
    }

    /// The id that a request's path names, where the operation's path has one.
    pub(crate) fn id_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        let at = self.path.split('/').position(|part| part == "{id}")?;
        path.split('/').nth(at)
    }

    /// Whether it only reads.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.method == "GET"
    }
}

const RESOURCES: [&[Operation]; 8] = [
    tenants::OPERATIONS,
    users::OPERATIONS,
    access_tokens::OPERATIONS,
    licenses::OPERATIONS,
    sessions::OPERATIONS,
    hardware_blocks::OPERATIONS,
    usage::OPERATIONS,
    audit_events::OPERATIONS,
];

/// Every operation.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    RESOURCES.into_iter().flatten()
}

/// The operation that a route and a method stand for. What answers GET answers HEAD.
pub(crate) fn find(method: &str, path: &str) -> Option<&'static Operation> {
    let method = if method == "HEAD" { "GET" } else { method };
    operations().find(|operation| operation.method == method && operation.path == path)
}

/// Says of each operation who may do it, as the table has it.
pub(crate) fn describe(document: &mut OpenApi) {
    for operation in operations() {
        let Some(said) = document.paths.paths.get_mut(operation.path).and_then(|item| described(item, operation.method)) else { continue };
        let who: Vec<&str> = operation.permission.holders().iter().map(|standing| Standing::as_str(*standing)).collect();
        let named = match operation.whose {
            Whose::Tenant => " Staff name the tenant in `x-tenant-id`.",
            Whose::TenantOrNone => " Staff name the tenant in `x-tenant-id`, or `none` for what is no tenant's.",
            Whose::PathsTenant | Whose::All => "",
        };
        let named = if operation.permission.holders().contains(&Standing::Staff) { named } else { "" };
        let who = format!("For {} (`{}`).{named}", who.join(", "), operation.permission.as_str());
        said.description = Some(said.description.take().map_or_else(|| who.clone(), |more| format!("{more}\n\n{who}")));
        let conflict = said.responses.responses.entry("409".to_owned()).or_insert_with(|| openapi::Response::default().into());
        if let openapi::RefOr::T(conflict) = conflict {
            let described = [conflict.description.trim_end_matches('.'), CHOICE].join("; ");
            described.trim_start_matches("; ").clone_into(&mut conflict.description);
        }
    }
}

/// What a member of several tenants is told who names none.
const CHOICE: &str =
    "`tenant_choice_required`: the caller is a member of several tenants, which `tenants` lists; name one in `x-tenant-id`.";

fn described<'a>(item: &'a mut openapi::PathItem, method: &str) -> Option<&'a mut openapi::path::Operation> {
    match method {
        "GET" => item.get.as_mut(),
        "POST" => item.post.as_mut(),
        "PATCH" => item.patch.as_mut(),
        "DELETE" => item.delete.as_mut(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_in_the_table_and_every_row_of_it_is_served_and_described() {
        let described = serde_json::to_value(crate::api().into_openapi()).unwrap();
        let mut served = BTreeSet::new();
        for (path, item) in described["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(_, operation)| operation["operationId"].is_string()) {
                assert_eq!(operation["tags"][0], "administration", "{method} {path}");
                assert!(operation["security"][0]["bearer"].is_array(), "{method} {path}");
                let who = operation["description"].as_str().unwrap_or_default();
                let is_of_identities = crate::identity_operations().any(|row| row.path == path && row.method == method.to_uppercase());
                assert!(
                    is_of_identities || who.contains("For ") && who.contains("staff") || who.contains("have_tokens"),
                    "{method} {path}: {who}"
                );
                served.insert((operation["operationId"].as_str().unwrap().to_owned(), method.to_uppercase(), path.clone()));
            }
        }
        let rows = operations().map(|row| (row.name.to_owned(), row.method.to_owned(), row.path.to_owned()));
        let of_identities = crate::identity_operations().map(|row| (row.name.to_owned(), row.method.to_owned(), row.path.to_owned()));
        assert_eq!(served, rows.chain(of_identities).collect());
        assert_eq!(served.len(), operations().count() + crate::identity_operations().count(), "a row is there twice");
    }

    #[test]
    fn an_operation_is_found_by_method_and_path() {
        assert_eq!(find("HEAD", "/api/v1/tenants").unwrap().name, "list_tenants");
        assert_eq!(find("DELETE", "/api/v1/tenants"), None);
    }
}
