output "topic" {
  description = "The topic, for the scheduler"
  value       = google_pubsub_topic.jobs.id
}

output "subscription" {
  description = "PUBSUB_SUBSCRIPTION: projects/…/subscriptions/…"
  value       = google_pubsub_subscription.jobs.id
}

output "dead_subscription" {
  description = "Where dead letters wait for somebody, by its short name"
  value       = google_pubsub_subscription.dead.name
}
