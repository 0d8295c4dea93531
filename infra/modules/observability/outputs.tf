output "channels" {
  description = "The notification channels"
  value       = local.channels
}

output "policies" {
  description = "The alert policies, by what they watch for"
  value = sort(concat(
    [for policy in google_monitoring_alert_policy.rules : policy.display_name],
    [for policy in google_monitoring_alert_policy.burn : policy.display_name],
    [for policy in google_monitoring_alert_policy.down : policy.display_name],
    [for policy in google_monitoring_alert_policy.behind : policy.display_name],
    [google_monitoring_alert_policy.key_late.display_name],
  ))
}
