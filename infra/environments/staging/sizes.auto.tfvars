protected = true

sizes = {
  highly_available = true
  root_in_hardware = false
  metrics          = true
  log_sample_rate  = 1.0
  budget           = 500

  database = {
    tier             = "db-custom-1-3840"
    disk_gb          = 10
    max_connections  = 250
    retained_backups = 7
  }

  redis = {
    memory_gb = 1
  }
}
