output "dns_records" {
  description = "The records that whoever keeps the domain must add"
  value       = module.edge.dns_records
}

output "images" {
  description = "What an image's name begins with"
  value       = module.delivery.images
}

output "forge" {
  description = "What the workflows are told, as variables of the forge's environment"
  value       = merge(module.delivery.forge, { PROJECT = var.project, REGION = var.region })
}

output "jobs" {
  description = "Jobs that are run by hand: migrate and logins"
  value       = module.worker.jobs
}

output "subscription" {
  description = "The worker's subscription"
  value       = module.pubsub.subscription
}

output "key_version" {
  description = "The root"
  value       = module.kms.key_version
}

output "connections" {
  description = "Connections that the pools of all instances may need, and how many PostgreSQL accepts"
  value       = { needed = local.needed, accepted = var.sizes.database.max_connections }
}
