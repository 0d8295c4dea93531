resource "google_sql_database_instance" "main" {
  #checkov:skip=CKV_GCP_79:Version 16 is what the platform is tested with; a newer one comes by a planned upgrade.
  #checkov:skip=CKV_GCP_6:TLS is demanded (ENCRYPTED_ONLY); a certificate of the client's own would be one more secret beside the password.
  #checkov:skip=CKV_GCP_108:Names would be looked up for each connection, and all of them come from the functions' subnet.
  #checkov:skip=CKV2_GCP_13:A line for each statement would cost more than the statements; Query Insights has their times.
  #checkov:skip=CKV_GCP_55:PostgreSQL's default is meant: a finer log would hold values that nobody should read in a log.
  project             = var.project
  name                = var.name
  region              = var.region
  database_version    = "POSTGRES_16"
  deletion_protection = var.deletion_protection

  settings {
    edition                     = "ENTERPRISE"
    tier                        = var.tier
    availability_type           = var.highly_available ? "REGIONAL" : "ZONAL"
    disk_type                   = "PD_SSD"
    disk_size                   = var.disk_gb
    disk_autoresize             = true
    deletion_protection_enabled = var.deletion_protection
    connector_enforcement       = "NOT_REQUIRED"

    ip_configuration {
      ipv4_enabled    = false
      private_network = var.network
      ssl_mode        = "ENCRYPTED_ONLY"
      # Its certificate names the instance's DNS name, which the functions check.
      server_ca_mode = "GOOGLE_MANAGED_CAS_CA"
    }

    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true
      start_time                     = "02:00"
      transaction_log_retention_days = 7

      backup_retention_settings {
        retained_backups = var.retained_backups
        retention_unit   = "COUNT"
      }
    }

    maintenance_window {
      day          = 7
      hour         = 3
      update_track = "stable"
    }

    insights_config {
      query_insights_enabled  = true
      query_string_length     = 1024
      record_application_tags = false
      record_client_address   = false
    }

    database_flags {
      name  = "max_connections"
      value = tostring(var.max_connections)
    }

    database_flags {
      name  = "cloudsql.iam_authentication"
      value = "on"
    }

    database_flags {
      name  = "cloudsql.enable_pgaudit"
      value = "on"
    }

    database_flags {
      name  = "log_checkpoints"
      value = "on"
    }

    database_flags {
      name  = "log_connections"
      value = "on"
    }

    database_flags {
      name  = "log_disconnections"
      value = "on"
    }

    database_flags {
      name  = "log_lock_waits"
      value = "on"
    }

    database_flags {
      name  = "log_min_duration_statement"
      value = "-1"
    }

    database_flags {
      name  = "log_min_error_statement"
      value = "error"
    }

    database_flags {
      name  = "log_statement"
      value = "ddl"
    }

    database_flags {
      name  = "log_temp_files"
      value = "0"
    }

    database_flags {
      name  = "idle_in_transaction_session_timeout"
      value = "60000"
    }
  }

  lifecycle {
    # The disk grows by itself, and never shrinks.
    ignore_changes = [settings[0].disk_size]
  }
}

resource "google_sql_database" "main" {
  project  = var.project
  instance = google_sql_database_instance.main.name
  name     = "coditect"
}

resource "random_password" "owner" {
  length  = 40
  special = false
}

# Owns the tables, migrates them, and makes the logins of the functions. Nothing that serves knows it.
resource "google_sql_user" "owner" {
  project         = var.project
  instance        = google_sql_database_instance.main.name
  name            = "coditect_owner"
  password        = random_password.owner.result
  deletion_policy = "ABANDON"
}

# People come with their own Google accounts, no password, and no right until someone grants them a role.
resource "google_sql_user" "people" {
  for_each = var.people

  project         = var.project
  instance        = google_sql_database_instance.main.name
  name            = each.key
  type            = "CLOUD_IAM_USER"
  deletion_policy = "ABANDON"
}

resource "google_project_iam_member" "people" {
  for_each = {
    for pair in setproduct(var.people, ["roles/cloudsql.instanceUser", "roles/cloudsql.client"]) : "${pair[0]} ${pair[1]}" => pair
  }

  project = var.project
  role    = each.value[1]
  member  = "user:${each.value[0]}"
}

resource "random_password" "logins" {
  for_each = var.logins

  length  = 40
  special = false
}

locals {
  host = google_sql_database_instance.main.private_ip_address
  # The name in its certificate. It is never looked up: the address stands beside it.
  name = coalesce(concat(
    [for name in google_sql_database_instance.main.dns_names : name.name if name.connection_type == "PRIVATE_SERVICES_ACCESS"],
    [google_sql_database_instance.main.dns_name, google_sql_database_instance.main.private_ip_address],
  )...)
  address = "${trimsuffix(local.name, ".")}:5432/${google_sql_database.main.name}?sslmode=require&hostaddr=${local.host}"

  # Makes the logins, or sets them right. Logins that Cloud SQL's API makes may do nearly everything, so these are made by SQL.
  make_logins = join("\n", concat(
    [
      for login, rights in var.logins : <<-SQL
        SELECT 'CREATE ROLE ${login} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${login}') \gexec
        ALTER ROLE ${login} WITH LOGIN NOCREATEDB NOCREATEROLE CONNECTION LIMIT ${rights.connections} PASSWORD '${random_password.logins[login].result}';
        GRANT ${join(", ", rights.roles)} TO ${login};
      SQL
    ],
    ["REVOKE CONNECT, TEMPORARY ON DATABASE ${google_sql_database.main.name} FROM PUBLIC;"],
    ["GRANT CONNECT ON DATABASE ${google_sql_database.main.name} TO ${join(", ", keys(var.logins))};"],
  ))
}
