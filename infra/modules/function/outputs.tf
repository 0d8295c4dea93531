output "service" {
  description = "The service's name"
  value       = google_cloud_run_v2_service.main.name
}

output "endpoint_groups" {
  description = "How the load balancer reaches what serves, and what is about to"
  value = {
    live      = google_compute_region_network_endpoint_group.live.id
    candidate = google_compute_region_network_endpoint_group.candidate.id
  }
}
