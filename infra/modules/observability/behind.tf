# What the functions need: PostgreSQL, Redis and Pub/Sub, by Google's own metrics. These need no collector.
locals {
  behind = {
    "Dead letters wait for somebody" = {
      filter    = "resource.type=\"pubsub_subscription\" metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" resource.labels.subscription_id=\"${var.dead_subscription}\""
      threshold = 0
      duration  = "0s"
      severity  = "WARNING"
    }
    # Two a minute come in. What waits for its time or for another try is never this many.
    "Nobody does the jobs: the worker stands still" = {
      filter    = "resource.type=\"pubsub_subscription\" metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\" resource.labels.subscription_id=\"${var.subscription}\""
      threshold = 10
      duration  = "180s"
      severity  = "CRITICAL"
    }
    "PostgreSQL's connections run out" = {
      filter    = "resource.type=\"cloudsql_database\" metric.type=\"cloudsql.googleapis.com/database/postgresql/num_backends\" resource.labels.database_id=\"${var.database}\""
      threshold = floor(var.max_connections * 0.8)
      duration  = "300s"
      severity  = "WARNING"
    }
    "PostgreSQL's processors are busy" = {
      filter    = "resource.type=\"cloudsql_database\" metric.type=\"cloudsql.googleapis.com/database/cpu/utilization\" resource.labels.database_id=\"${var.database}\""
      threshold = 0.8
      duration  = "600s"
      severity  = "WARNING"
    }
    "PostgreSQL's disk is nearly full" = {
      filter    = "resource.type=\"cloudsql_database\" metric.type=\"cloudsql.googleapis.com/database/disk/utilization\" resource.labels.database_id=\"${var.database}\""
      threshold = 0.85
      duration  = "600s"
      severity  = "WARNING"
    }
    "Redis is nearly full and will refuse new seats" = {
      filter    = "resource.type=\"redis_instance\" metric.type=\"redis.googleapis.com/stats/memory/usage_ratio\" resource.labels.instance_id=\"${var.redis}\""
      threshold = 0.7
      duration  = "300s"
      severity  = "CRITICAL"
    }
  }
}

resource "google_monitoring_alert_policy" "behind" {
  for_each = local.behind

  project               = var.project
  display_name          = each.key
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels

  conditions {
    display_name = each.key

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = each.value.duration

      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "See infra/README.md, When something fails."
  }
}

# Counted from the log, so that they are there without a collector: the worker says each run that did something in one line.
locals {
  logged = {
    job-done   = { filter = "jsonPayload.message=\"done\" jsonPayload.job:*", of = "worker", label = "job" }
    job-failed = { filter = "(jsonPayload.message=\"not done; it is tried again\" OR jsonPayload.message=\"a bug; it is tried again\") jsonPayload.job:*", of = "worker", label = "job" }
    errors     = { filter = "severity>=ERROR", of = null, label = null }
  }
}

resource "google_logging_metric" "main" {
  for_each = local.logged

  project = var.project
  name    = "${var.name}/${each.key}"
  filter = join(" ", compact([
    each.value.of == null ? "(resource.type=\"cloud_run_revision\" OR resource.type=\"cloud_run_worker_pool\")" : "resource.type=\"cloud_run_worker_pool\"",
    each.value.filter,
  ]))
  label_extractors = each.value.label == null ? null : { (each.value.label) = "EXTRACT(jsonPayload.${each.value.label})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    dynamic "labels" {
      for_each = compact([each.value.label])

      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }
}

# By the line itself and no metric of it: what counts nothing yet could not be watched in a new project.
resource "google_monitoring_alert_policy" "key_late" {
  project               = var.project
  display_name          = "The next signing key is late"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = "The rotation says so"

    condition_matched_log {
      filter = "resource.type=\"cloud_run_worker_pool\" jsonPayload.message:\"the next signing key is late\""
    }
  }

  alert_strategy {
    auto_close = "1800s"

    notification_rate_limit {
      period = "900s"
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Leases have a day left. See jobs/README.md, rotate-keys."
  }
}

resource "google_monitoring_dashboard" "main" {
  project        = var.project
  dashboard_json = templatefile(var.dashboard, { name = var.name, database = var.database, redis = var.redis, url_map = var.url_map })
}

resource "google_billing_budget" "main" {
  count = var.budget == null ? 0 : 1

  billing_account = var.budget.billing_account
  display_name    = var.name

  budget_filter {
    projects = ["projects/${var.budget.project_number}"]
  }

  amount {
    specified_amount {
      # In the billing account's own currency: Google refuses any other.
      units = tostring(var.budget.amount)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]

    content {
      threshold_percent = threshold_rules.value
    }
  }

  threshold_rules {
    threshold_percent = 1.2
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    monitoring_notification_channels = local.channels
  }
}
