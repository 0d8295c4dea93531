resource "google_secret_manager_secret" "main" {
  #checkov:skip=CKV2_GCP_25:What is in them is changed by a new version, not by time: a password changes with its login.
  for_each = var.names

  project             = var.project
  secret_id           = each.value
  deletion_protection = false

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_version" "main" {
  for_each = var.names

  secret      = google_secret_manager_secret.main[each.value].id
  secret_data = var.values[each.value]

  # What serves now may still read the old version.
  deletion_policy = "DISABLE"

  lifecycle {
    create_before_destroy = true
  }
}

# Each reader has the secrets that it uses, and no other.
resource "google_secret_manager_secret_iam_member" "readers" {
  for_each = { for pair in flatten([
    for name, accounts in var.readers : [for key, account in accounts : { name = name, key = key, account = account }]
  ]) : "${pair.name} ${pair.key}" => pair }

  project   = var.project
  secret_id = google_secret_manager_secret.main[each.value.name].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${each.value.account}"
}
