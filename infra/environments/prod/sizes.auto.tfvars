protected = true

sizes = {
  highly_available = true
  root_in_hardware = true
  metrics          = true
  log_sample_rate  = 0.1
  budget           = 1500

  database = {
    tier             = "db-custom-4-15360"
    disk_gb          = 100
    max_connections  = 1000
    retained_backups = 30
  }

  redis = {
    memory_gb = 5
  }
}
