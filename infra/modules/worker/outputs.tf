output "worker_pool" {
  description = "The worker pool's name"
  value       = google_cloud_run_v2_worker_pool.main.name
}

output "jobs" {
  description = "The jobs that are run by hand, or by scripts/deploy"
  value       = { migrate = google_cloud_run_v2_job.migrate.name, logins = google_cloud_run_v2_job.logins.name }
}
