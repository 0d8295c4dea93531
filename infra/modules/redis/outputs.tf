output "url" {
  description = "REDIS_URL"
  value       = "rediss://:${google_redis_instance.main.auth_string}@${google_redis_instance.main.host}:${google_redis_instance.main.port}"
  sensitive   = true
}

output "certificates" {
  description = "What Redis' certificate leads to, in PEM"
  value       = join("\n", [for certificate in google_redis_instance.main.server_ca_certs : certificate.cert])
  sensitive   = true
}

output "instance" {
  description = "The instance, as Cloud Monitoring names it"
  value       = google_redis_instance.main.id
}
