output "urls" {
  description = "DATABASE_URL of each login"
  value       = { for login, password in random_password.logins : login => "postgres://${login}:${password.result}@${local.address}" }
  sensitive   = true
}

output "owner" {
  description = "DATABASE_URL of the owner, for migrations"
  value       = "postgres://${google_sql_user.owner.name}:${random_password.owner.result}@${local.address}"
  sensitive   = true
}

output "owner_password" {
  description = "The owner's password, for psql"
  value       = random_password.owner.result
  sensitive   = true
}

output "psql" {
  description = "How psql reaches the database as its owner, but for the password"
  value = {
    PGHOST     = trimsuffix(local.name, ".")
    PGHOSTADDR = local.host
    PGDATABASE = google_sql_database.main.name
    PGUSER     = google_sql_user.owner.name
    PGSSLMODE  = "verify-full"
  }
}

output "make_logins" {
  description = "A script for psql that makes the logins, with their passwords"
  value       = local.make_logins
  sensitive   = true
}

output "certificates" {
  description = "What PostgreSQL's certificate leads to, in PEM"
  value       = join("\n", [for certificate in google_sql_database_instance.main.server_ca_cert : certificate.cert])
  sensitive   = true
}

output "instance" {
  description = "The instance, as Cloud Monitoring names it"
  value       = "${var.project}:${google_sql_database_instance.main.name}"
}
