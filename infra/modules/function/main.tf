# Everything but its image and its traffic, which scripts/deploy moves.
resource "google_cloud_run_v2_service" "main" {
  project             = var.project
  location            = var.region
  name                = var.name
  description         = "The function ${var.name} of the license platform"
  ingress             = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
  deletion_protection = var.deletion_protection

  # For the service and no revision: one that has a tag and no traffic would keep as many waiting.
  scaling {
    min_instance_count = var.instances.min
  }

  # Anybody may call, as the API says who they are by keys and tokens of its own; the only way here is the load balancer's.
  invoker_iam_disabled = true

  template {
    service_account = var.service_account
    # The first starts faster; the collector is made for the second.
    execution_environment            = var.collector == null ? "EXECUTION_ENVIRONMENT_GEN1" : "EXECUTION_ENVIRONMENT_GEN2"
    max_instance_request_concurrency = var.concurrency
    # A request has its own deadline of five seconds; this is for what is broken.
    timeout = "15s"

    scaling {
      max_instance_count = var.instances.max
    }

    vpc_access {
      egress = "ALL_TRAFFIC"

      network_interfaces {
        network    = var.network
        subnetwork = var.subnetwork
      }
    }

    containers {
      name  = "function"
      image = var.image

      ports {
        container_port = 8080
      }

      resources {
        limits = { cpu = var.cpu, memory = var.memory }
        # With a collector the processor is there between requests too, so that it can gather: cheaper by the second, and nothing by the request.
        cpu_idle          = var.collector == null
        startup_cpu_boost = true
      }

      # It listens within milliseconds, and nothing behind it is asked.
      startup_probe {
        initial_delay_seconds = 0
        period_seconds        = 1
        timeout_seconds       = 1
        failure_threshold     = 10

        http_get {
          path = "/health/"
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 2
        failure_threshold = 3

        http_get {
          path = "/health/"
        }
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

    # Reads the function's metrics page and writes it to Cloud Monitoring's Prometheus.
    dynamic "containers" {
      for_each = var.collector == null ? [] : [var.collector]

      content {
        name       = "collector"
        image      = containers.value.image
        depends_on = ["function"]

        resources {
          limits   = { cpu = "0.25", memory = "256Mi" }
          cpu_idle = false
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
      traffic,
    ]
  }
}

# How the load balancer reaches it.
resource "google_compute_region_network_endpoint_group" "live" {
  project               = var.project
  name                  = "${var.prefix}-${var.name}"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloud_run_v2_service.main.name
  }
}

# How scripts/deploy reaches a revision that has no traffic yet: by its tag.
resource "google_compute_region_network_endpoint_group" "candidate" {
  project               = var.project
  name                  = "${var.prefix}-${var.name}-candidate"
  region                = var.region
  network_endpoint_type = "SERVERLESS"

  cloud_run {
    service = google_cloud_run_v2_service.main.name
    tag     = "candidate"
  }
}
