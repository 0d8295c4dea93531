output "address" {
  description = "The address that the domain must lead to"
  value       = google_compute_global_address.main.address
}

output "dns_records" {
  description = "The records that whoever keeps the domain must add"
  value = concat(
    [for host in sort(local.hosts) : { name = "${host}.", type = "A", data = google_compute_global_address.main.address }],
    [for host in sort(local.hosts) : {
      name = google_certificate_manager_dns_authorization.main[host].dns_resource_record[0].name
      type = google_certificate_manager_dns_authorization.main[host].dns_resource_record[0].type
      data = google_certificate_manager_dns_authorization.main[host].dns_resource_record[0].data
    }],
  )
}

output "url_map" {
  description = "The load balancer, as Cloud Monitoring names it"
  value       = google_compute_url_map.main.name
}
