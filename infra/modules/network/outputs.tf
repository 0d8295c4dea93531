output "network" {
  description = "The network, for what lives in it"
  value       = google_compute_network.main.id
}

output "subnetwork" {
  description = "The subnet of the functions' instances"
  value       = google_compute_subnetwork.functions.id
}

output "services" {
  description = "The network with its peering made: what needs private services access waits for it by using this"
  value       = google_service_networking_connection.services.network
}
