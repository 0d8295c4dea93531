resource "google_redis_instance" "main" {
  project                 = var.project
  name                    = var.name
  region                  = var.region
  display_name            = "Seats"
  tier                    = var.highly_available ? "STANDARD_HA" : "BASIC"
  memory_size_gb          = var.memory_gb
  redis_version           = "REDIS_7_2"
  authorized_network      = var.network
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"

  # A seat that is pushed out of a full memory would be given twice. Full means that nothing new is written, and an alert comes long before.
  redis_configs = {
    "maxmemory-policy" = "noeviction"
    "maxmemory-gb"     = tostring(var.memory_gb * 0.8)
  }

  maintenance_policy {
    weekly_maintenance_window {
      day = "SUNDAY"

      start_time {
        hours   = 4
        minutes = 0
        seconds = 0
        nanos   = 0
      }
    }
  }
}
