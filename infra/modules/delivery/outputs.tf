output "images" {
  description = "What an image's name begins with"
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "forge" {
  description = "What the workflows are told, as variables of the forge's environment"
  value = {
    WORKLOAD_IDENTITY_PROVIDER = google_iam_workload_identity_pool_provider.github.name
    DEPLOYER                   = google_service_account.deployer.email
    MIGRATIONS                 = google_service_account.migrations.email
    PLANNER                    = google_service_account.planner.email
  }
}
