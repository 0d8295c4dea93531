# Pulls messages, so that nobody calls it: a worker pool and no service.
resource "google_cloud_run_v2_worker_pool" "main" {
  project             = var.project
  location            = var.region
  name                = "worker"
  description         = "Does what happens on a schedule"
  launch_stage        = var.launch_stage
  deletion_protection = var.deletion_protection

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = var.instances
  }

  template {
    service_account = var.service_account

    vpc_access {
      egress = "ALL_TRAFFIC"

      network_interfaces {
        network    = var.network
        subnetwork = var.subnetwork
      }
    }

    containers {
      name  = "worker"
      image = var.image
      args  = ["worker"]

      resources {
        limits = { cpu = var.cpu, memory = var.memory }
      }

      dynamic "env" {
        for_each = var.settings

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secrets

        content {
          name = env.key

          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      dynamic "volume_mounts" {
        for_each = var.files

        content {
          name       = volume_mounts.key
          mount_path = volume_mounts.value.folder
        }
      }
    }

    # Reads the worker's metrics page and writes it to Cloud Monitoring's Prometheus.
    dynamic "containers" {
      for_each = var.collector == null ? [] : [var.collector]

      content {
        name       = "collector"
        image      = containers.value.image
        depends_on = ["worker"]

        resources {
          limits = { cpu = "0.25", memory = "256Mi" }
        }

        volume_mounts {
          name       = "collector"
          mount_path = "/etc/rungmp"
        }
      }
    }

    dynamic "volumes" {
      for_each = merge(var.files, var.collector == null ? {} : {
        collector = { secret = var.collector.secret, version = var.collector.version, file = "config.yaml", folder = "/etc/rungmp" }
      })

      content {
        name = volumes.key

        secret {
          secret = volumes.value.secret

          items {
            path    = volumes.value.file
            version = volumes.value.version
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [
      client,
      client_version,
      template[0].annotations,
      template[0].containers[0].image,
      template[0].labels,
      template[0].revision,
    ]
  }
}

# Brings the database up to date, as its owner. scripts/deploy runs it before anything else.
resource "google_cloud_run_v2_job" "migrate" {
  project             = var.project
  location            = var.region
  name                = "migrate"
  deletion_protection = var.deletion_protection

  template {
    template {
      service_account       = var.migrator.service_account
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      max_retries           = 0
      timeout               = "1800s"

      vpc_access {
        egress = "ALL_TRAFFIC"

        network_interfaces {
          network    = var.network
          subnetwork = var.subnetwork
        }
      }

      containers {
        name  = "migrate"
        image = var.image
        args  = ["migrate"]

        resources {
          limits = { cpu = "1", memory = "512Mi" }
        }

        env {
          name  = "DATABASE_CA_FILE"
          value = "/certificates/postgres/postgres.pem"
        }

        env {
          name = "DATABASE_URL"

          value_source {
            secret_key_ref {
              secret  = var.migrator.database_url.secret
              version = var.migrator.database_url.version
            }
          }
        }

        volume_mounts {
          name       = "postgres"
          mount_path = "/certificates/postgres"
        }
      }

      volumes {
        name = "postgres"

        secret {
          secret = var.migrator.certificates.secret

          items {
            path    = "postgres.pem"
            version = var.migrator.certificates.version
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version, template[0].annotations, template[0].labels, template[0].template[0].containers[0].image]
  }
}

# Makes each function's login, or sets it right: psql with a script that holds the passwords.
resource "google_cloud_run_v2_job" "logins" {
  project             = var.project
  location            = var.region
  name                = "logins"
  deletion_protection = var.deletion_protection

  template {
    template {
      service_account       = var.migrator.service_account
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      max_retries           = 0
      timeout               = "300s"

      vpc_access {
        egress = "ALL_TRAFFIC"

        network_interfaces {
          network    = var.network
          subnetwork = var.subnetwork
        }
      }

      containers {
        name    = "psql"
        image   = var.psql_image
        command = ["psql"]
        args    = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=/logins/logins.sql"]

        resources {
          limits = { cpu = "1", memory = "512Mi" }
        }

        dynamic "env" {
          for_each = merge(var.migrator.psql, { PGSSLROOTCERT = "/certificates/postgres/postgres.pem" })

          content {
            name  = env.key
            value = env.value
          }
        }

        env {
          name = "PGPASSWORD"

          value_source {
            secret_key_ref {
              secret  = var.migrator.password.secret
              version = var.migrator.password.version
            }
          }
        }

        volume_mounts {
          name       = "logins"
          mount_path = "/logins"
        }

        volume_mounts {
          name       = "postgres"
          mount_path = "/certificates/postgres"
        }
      }

      volumes {
        name = "logins"

        secret {
          secret = var.migrator.logins.secret

          items {
            path    = "logins.sql"
            version = var.migrator.logins.version
          }
        }
      }

      volumes {
        name = "postgres"

        secret {
          secret = var.migrator.certificates.secret

          items {
            path    = "postgres.pem"
            version = var.migrator.certificates.version
          }
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [client, client_version]
  }
}
