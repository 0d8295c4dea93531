resource "google_identity_platform_config" "main" {
  project            = var.project
  authorized_domains = concat(["${var.project}.firebaseapp.com"], var.authorized_domains)

  sign_in {
    allow_duplicate_emails = false

    email {
      enabled           = false
      password_required = true
    }
  }

  # Who may sign in is decided by the platform, which knows a person by an invitation; signing up gives no right.
  client {
    permissions {
      disabled_user_signup   = false
      disabled_user_deletion = true
    }
  }

  monitoring {
    request_logging {
      enabled = true
    }
  }
}

# The OAuth clients themselves are made by hand: infra/README.md tells how. Until then the providers are not there.
resource "google_identity_platform_default_supported_idp_config" "main" {
  for_each = nonsensitive(toset(keys(var.oauth_clients)))

  project       = var.project
  idp_id        = each.value
  enabled       = true
  client_id     = var.oauth_clients[each.value].id
  client_secret = var.oauth_clients[each.value].secret

  depends_on = [google_identity_platform_config.main]
}
