locals {
  # OWASP's core rule set at its least touchy level, but for its list of methods, which has no PATCH.
  owasp = {
    1000 = "sqli-v33-stable"
    1010 = "xss-v33-stable"
    1020 = "lfi-v33-stable"
    1030 = "rfi-v33-stable"
    1040 = "rce-v33-stable"
    1060 = "scannerdetection-v33-stable"
    1070 = "protocolattack-v33-stable"
    1080 = "sessionfixation-v33-stable"
    1090 = "java-v33-stable"
  }
}

resource "google_compute_security_policy" "main" {
  project = var.project
  name    = var.name
  type    = "CLOUD_ARMOR"

  advanced_options_config {
    json_parsing = "STANDARD"
    log_level    = "NORMAL"
  }

  adaptive_protection_config {
    layer_7_ddos_defense_config {
      enable          = true
      rule_visibility = "STANDARD"
    }
  }

  dynamic "rule" {
    for_each = local.owasp

    content {
      action      = "deny(403)"
      priority    = rule.key
      description = "OWASP: ${rule.value}"

      match {
        expr {
          expression = "evaluatePreconfiguredWaf('${rule.value}', {'sensitivity': 1})"
        }
      }
    }
  }

  # CVE-2021-44228 and its like, by name.
  rule {
    action      = "deny(403)"
    priority    = 1200
    description = "Log4j and other known holes"

    match {
      expr {
        expression = "evaluatePreconfiguredExpr('cve-canary')"
      }
    }
  }

  # The API's own limits are to the request and for each caller; this is for floods, far above what an office behind one address sends.
  rule {
    action      = "throttle"
    priority    = 2000
    description = "Floods from one address"

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }

    rate_limit_options {
      conform_action = "allow"
      exceed_action  = "deny(429)"
      enforce_on_key = "IP"

      rate_limit_threshold {
        count        = var.requests_per_minute
        interval_sec = 60
      }
    }
  }

  rule {
    action      = "allow"
    priority    = 2147483647
    description = "Everybody else"

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}

# Revisions without traffic are code that nobody has tried: only scripts/deploy reaches them, by a header that it knows.
resource "google_compute_security_policy" "candidate" {
  #checkov:skip=CKV_GCP_73:Whoever has the key is let in, and nobody else; nothing of ours is written in Java.
  project = var.project
  name    = "${var.name}-candidate"
  type    = "CLOUD_ARMOR"

  rule {
    action      = "allow"
    priority    = 1000
    description = "scripts/deploy"

    match {
      expr {
        expression = "has(request.headers['x-candidate-key']) && request.headers['x-candidate-key'] == '${var.candidate_key}'"
      }
    }
  }

  rule {
    action      = "deny(404)"
    priority    = 2147483647
    description = "Everybody else"

    match {
      versioned_expr = "SRC_IPS_V1"

      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}
