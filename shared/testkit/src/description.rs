//! Answers held to the OpenAPI document that describes them.

use serde_json::Value;

/// An OpenAPI document.
#[derive(Debug)]
pub struct Description(Value);

impl Description {
    /// What this document says.
    #[must_use]
    pub const fn new(document: Value) -> Self {
        Self(document)
    }

    /// The document itself.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.0
    }

    /// The operations of a path, by method, if it is described.
    #[must_use]
    pub fn operations(&self, path: &str) -> Option<&Value> {
        self.0["paths"].as_object()?.iter().find(|(template, _)| fits(template, path)).map(|(_, item)| item)
    }

    /// Why a value does not fit a schema of the document, whose references lead to its components.
    ///
    /// # Panics
    /// If the schema is none.
    #[must_use]
    pub fn misfit(&self, schema: &Value, value: &Value) -> Option<String> {
        let mut whole = schema.clone();
        whole["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&whole).expect("the schema is one");
        validator.iter_errors(value).next().map(|error| format!("{}: {error}", error.instance_path()))
    }
}

/// Whether a path is one of those that a template such as `/users/{id}` stands for.
fn fits(template: &str, path: &str) -> bool {
    let (mut wanted, mut had) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), had.next()) {
            (None, None) => return true,
            (Some(part), Some(text)) if part == text || part.starts_with('{') && !text.is_empty() => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_stands_for_paths_of_its_own_shape() {
        assert!(fits("/users/{id}/deactivate", "/users/usr_1/deactivate") && fits("/users", "/users"));
        assert!(!fits("/users/{id}", "/users/") && !fits("/users/{id}", "/users/a/b") && !fits("/users", "/user"));
        assert!(Description::new(json!({})).misfit(&json!({ "type": "string" }), &json!(1)).is_some());
    }
}
