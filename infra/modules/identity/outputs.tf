output "project" {
  description = "GOOGLE_IDENTITY_PROJECT: whose tokens the functions take"
  value       = google_identity_platform_config.main.project
}
