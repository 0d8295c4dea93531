locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.id]
  # What promtool checks is what Cloud Monitoring runs.
  rules = { for rule in flatten([for group in yamldecode(var.rules).groups : [
    for rule in group.rules : merge(rule, { group = group.name, interval = group.interval })
  ]]) : rule.alert => rule }
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.emails

  project      = var.project
  display_name = each.value
  type         = "email"
  labels       = { email_address = each.value }
}

resource "google_monitoring_alert_policy" "rules" {
  for_each = { for name, rule in local.rules : name => rule if var.metrics }

  project               = var.project
  display_name          = each.key
  combiner              = "OR"
  severity              = upper(each.value.labels.severity)
  notification_channels = local.channels

  conditions {
    display_name = each.value.annotations.summary

    condition_prometheus_query_language {
      query               = trimspace(each.value.expr)
      duration            = lookup(each.value, "for", "0s") == "0s" ? "0s" : "${local.minutes[each.value.for]}s"
      evaluation_interval = each.value.interval
      alert_rule          = each.key
      rule_group          = each.value.group
      # The metrics are there once the functions have run.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "${each.value.annotations.summary} See ${each.value.annotations.runbook}."
  }
}

locals {
  minutes = { for minutes in [1, 2, 5, 10, 15, 30] : "${minutes}m" => minutes * 60 }
}

# Objectives: of each function's requests so many are answered without a fault, and in time. They count Cloud Run's own metrics.
resource "google_monitoring_custom_service" "functions" {
  for_each = var.functions

  project      = var.project
  service_id   = "${var.name}-${each.value}"
  display_name = each.value
}

locals {
  of_function = {
    for function in var.functions : function => "resource.type=\"cloud_run_revision\" resource.labels.service_name=\"${function}\""
  }
}

resource "google_monitoring_slo" "available" {
  for_each = var.functions

  project             = var.project
  service             = google_monitoring_custom_service.functions[each.value].service_id
  slo_id              = "available"
  display_name        = "${each.value}: answered without a fault"
  goal                = var.availability_goal
  rolling_period_days = 28

  request_based_sli {
    good_total_ratio {
      total_service_filter = "metric.type=\"run.googleapis.com/request_count\" ${local.of_function[each.value]}"
      bad_service_filter   = "metric.type=\"run.googleapis.com/request_count\" metric.labels.response_code_class=\"5xx\" ${local.of_function[each.value]}"
    }
  }
}

resource "google_monitoring_slo" "prompt" {
  for_each = var.functions

  project             = var.project
  service             = google_monitoring_custom_service.functions[each.value].service_id
  slo_id              = "prompt"
  display_name        = "${each.value}: answered within ${var.prompt_ms} ms"
  goal                = 0.99
  rolling_period_days = 28

  request_based_sli {
    distribution_cut {
      distribution_filter = "metric.type=\"run.googleapis.com/request_latencies\" ${local.of_function[each.value]}"

      range {
        max = var.prompt_ms
      }
    }
  }
}

# Two rates, as in Google's SRE workbook: 14.4 times the budget for an hour uses 2 % of a month's, 6 times for six hours 5 %.
resource "google_monitoring_alert_policy" "burn" {
  for_each = { for pair in setproduct(var.functions, ["fast", "slow"]) : "${pair[0]} ${pair[1]}" => { function = pair[0], speed = pair[1] } }

  project               = var.project
  display_name          = "${each.value.function} uses up its errors ${each.value.speed}"
  combiner              = "OR"
  severity              = each.value.speed == "fast" ? "CRITICAL" : "WARNING"
  notification_channels = local.channels

  conditions {
    display_name = "Burn rate"

    condition_threshold {
      filter          = "select_slo_burn_rate(\"${google_monitoring_slo.available[each.value.function].name}\", \"${each.value.speed == "fast" ? "3600s" : "21600s"}\")"
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.speed == "fast" ? 14.4 : 6
      duration        = "0s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "More requests fail than the objective allows. See infra/README.md, When something fails."
  }
}

# From outside: the way that a client goes, through the load balancer and down to both servers.
resource "google_monitoring_uptime_check_config" "ready" {
  for_each = var.checked

  project          = var.project
  display_name     = "${each.value} is ready"
  timeout          = "10s"
  period           = "300s"
  checker_type     = "STATIC_IP_CHECKERS"
  selected_regions = ["EUROPE", "USA_VIRGINIA", "USA_OREGON"]

  http_check {
    path         = "/${each.value}/ready/"
    port         = 443
    use_ssl      = true
    validate_ssl = true
  }

  monitored_resource {
    type   = "uptime_url"
    labels = { project_id = var.project, host = var.domain }
  }
}

resource "google_monitoring_alert_policy" "down" {
  for_each = google_monitoring_uptime_check_config.ready

  project               = var.project
  display_name          = "${each.key} does not answer"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = "Checked from outside"

    condition_threshold {
      filter          = "resource.type=\"uptime_url\" metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" metric.labels.check_id=\"${each.value.uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "300s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
    }
  }
}
