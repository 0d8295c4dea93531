protected = false

sizes = {
  highly_available = false
  root_in_hardware = false
  metrics          = false
  log_sample_rate  = 1.0
  budget           = 200

  database = {
    tier             = "db-g1-small"
    disk_gb          = 10
    max_connections  = 150
    retained_backups = 7
  }

  redis = {
    memory_gb = 1
  }
}
