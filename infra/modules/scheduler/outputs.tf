output "jobs" {
  description = "The names of the schedules"
  value       = keys(google_cloud_scheduler_job.main)
}
