resource "google_compute_global_address" "main" {
  project = var.project
  name    = var.name
}

locals {
  candidate = "candidate.${var.domain}"
  hosts     = toset([var.domain, local.candidate])
}

resource "google_certificate_manager_dns_authorization" "main" {
  for_each = local.hosts

  project = var.project
  name    = replace(each.value, ".", "-")
  domain  = each.value
}

resource "google_certificate_manager_certificate" "main" {
  project = var.project
  name    = var.name

  managed {
    domains            = sort(local.hosts)
    dns_authorizations = [for host in sort(local.hosts) : google_certificate_manager_dns_authorization.main[host].id]
  }
}

resource "google_certificate_manager_certificate_map" "main" {
  project = var.project
  name    = var.name
}

resource "google_certificate_manager_certificate_map_entry" "main" {
  for_each = local.hosts

  project      = var.project
  name         = replace(each.value, ".", "-")
  map          = google_certificate_manager_certificate_map.main.name
  certificates = [google_certificate_manager_certificate.main.id]
  hostname     = each.value
}

resource "google_compute_ssl_policy" "main" {
  project         = var.project
  name            = var.name
  profile         = "RESTRICTED"
  min_tls_version = "TLS_1_2"
}

resource "google_compute_backend_service" "live" {
  for_each = var.functions

  project               = var.project
  name                  = "${var.name}-${each.key}"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.main.id

  backend {
    group = each.value.live
  }

  log_config {
    enable      = true
    sample_rate = var.log_sample_rate
  }
}

resource "google_compute_backend_service" "candidate" {
  for_each = var.functions

  project               = var.project
  name                  = "${var.name}-${each.key}-candidate"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTPS"
  security_policy       = google_compute_security_policy.candidate.id

  backend {
    group = each.value.candidate
  }

  log_config {
    enable      = true
    sample_rate = 1
  }
}

# A path goes to the function that has its longest match; /FUNCTION/ready/ and /FUNCTION/health/ to that function's own. The host
# candidate.DOMAIN is the same for revisions that have no traffic yet: scripts/deploy asks them whether they are ready, and shows the key
# without which Cloud Armor answers 404. What no
# function has goes to the one that answers strangers best, with a 404 of the API's own.
resource "google_compute_url_map" "main" {
  project         = var.project
  name            = var.name
  default_service = google_compute_backend_service.live[var.strangers].id

  dynamic "host_rule" {
    for_each = { live = var.domain, candidate = local.candidate }

    content {
      hosts        = [host_rule.value]
      path_matcher = host_rule.key
    }
  }

  dynamic "path_matcher" {
    for_each = { live = google_compute_backend_service.live, candidate = google_compute_backend_service.candidate }

    content {
      name            = path_matcher.key
      default_service = path_matcher.value[var.strangers].id

      dynamic "path_rule" {
        for_each = var.functions

        content {
          paths   = path_rule.value.paths
          service = path_matcher.value[path_rule.key].id
        }
      }

      dynamic "path_rule" {
        for_each = { for pair in setproduct(keys(var.functions), ["health", "ready"]) : "${pair[0]} ${pair[1]}" => pair }

        content {
          paths   = ["/${path_rule.value[0]}/${path_rule.value[1]}/"]
          service = path_matcher.value[path_rule.value[0]].id

          route_action {
            url_rewrite {
              path_prefix_rewrite = "/${path_rule.value[1]}/"
            }
          }
        }
      }
    }
  }
}

resource "google_compute_target_https_proxy" "main" {
  project         = var.project
  name            = var.name
  url_map         = google_compute_url_map.main.id
  ssl_policy      = google_compute_ssl_policy.main.id
  certificate_map = "//certificatemanager.googleapis.com/${google_certificate_manager_certificate_map.main.id}"
}

resource "google_compute_global_forwarding_rule" "https" {
  project               = var.project
  name                  = "${var.name}-https"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.main.id
  port_range            = "443"
  target                = google_compute_target_https_proxy.main.id
}

# Whoever comes by plain HTTP is told the right way, and served nothing.
resource "google_compute_url_map" "redirect" {
  project = var.project
  name    = "${var.name}-redirect"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "PERMANENT_REDIRECT"
    strip_query            = false
  }
}

resource "google_compute_target_http_proxy" "redirect" {
  project = var.project
  name    = "${var.name}-redirect"
  url_map = google_compute_url_map.redirect.id
}

resource "google_compute_global_forwarding_rule" "http" {
  project               = var.project
  name                  = "${var.name}-http"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.main.id
  port_range            = "80"
  target                = google_compute_target_http_proxy.redirect.id
}
