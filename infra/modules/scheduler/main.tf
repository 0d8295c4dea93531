# Cloud Scheduler publishes as its own agent, which may do so in its project without being told.
resource "google_cloud_scheduler_job" "main" {
  for_each = var.jobs

  project     = var.project
  region      = var.region
  name        = each.key
  description = each.value.summary
  schedule    = each.value.cron
  time_zone   = "Etc/UTC"

  pubsub_target {
    topic_name = var.topic
    data       = base64encode(each.value.message)
  }

  retry_config {
    retry_count          = 3
    min_backoff_duration = "5s"
    max_retry_duration   = "60s"
  }
}
