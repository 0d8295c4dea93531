# Who reaches revisions that have no traffic yet.
mock_provider "google" {
  mock_resource "google_certificate_manager_dns_authorization" {
    defaults = { dns_resource_record = [{ name = "_acme-challenge.", type = "CNAME", data = "authorize.goog." }] }
  }
}

variables {
  project         = "my-project"
  name            = "coditect"
  domain          = "licenses.example.com"
  log_sample_rate = 1
  candidate_key   = "0123456789abcdefghijklmnopqrstuvwxyzABCD"
  functions = {
    acquire   = { paths = ["/api/v1/licenses/acquire"], live = "live-acquire", candidate = "candidate-acquire" }
    discovery = { paths = ["/api/v1/keys"], live = "live-discovery", candidate = "candidate-discovery" }
  }
}

run "candidate_is_reached_with_the_key_alone" {
  command = apply

  assert {
    condition = alltrue([
      for service in google_compute_backend_service.candidate : service.security_policy == google_compute_security_policy.candidate.id
    ])
    error_message = "Every candidate is behind the policy that asks for the key."
  }

  assert {
    condition = alltrue([
      for rule in google_compute_security_policy.candidate.rule : rule.action == "deny(404)" || nonsensitive(try(strcontains(
        rule.match[0].expr[0].expression, "request.headers['x-candidate-key'] == '0123456789abcdefghijklmnopqrstuvwxyzABCD'"
      ), false))
    ])
    error_message = "Nobody is let in without the key."
  }

  assert {
    condition     = anytrue([for rule in google_compute_security_policy.candidate.rule : rule.priority == 2147483647 && rule.action == "deny(404)"])
    error_message = "To everybody else it is not there."
  }

  assert {
    condition = alltrue([
      for service in google_compute_backend_service.live : service.security_policy == google_compute_security_policy.main.id
    ])
    error_message = "What serves is behind the other policy."
  }
}

run "short_key_is_refused" {
  command = plan

  variables {
    candidate_key = "guess"
  }

  expect_failures = [var.candidate_key]
}
