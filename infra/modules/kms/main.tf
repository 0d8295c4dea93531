resource "google_kms_key_ring" "main" {
  project  = var.project
  name     = var.name
  location = var.region
}

# The root: every program of every customer trusts it, so it outlives all else. It is never rotated by time (an asymmetric key
# cannot be), and what it signs is what clients verify.
resource "google_kms_crypto_key" "root" {
  #checkov:skip=CKV_GCP_43:An asymmetric signing key cannot be rotated by time; a new root is a new version, made by hand, and clients learn of it first.
  name                          = "root"
  key_ring                      = google_kms_key_ring.main.id
  purpose                       = "ASYMMETRIC_SIGN"
  destroy_scheduled_duration    = "2592000s"
  skip_initial_version_creation = true

  version_template {
    algorithm        = "RSA_SIGN_PKCS1_4096_SHA256"
    protection_level = var.protection_level
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "google_kms_crypto_key_version" "root" {
  crypto_key = google_kms_crypto_key.root.id
  state      = "ENABLED"

  lifecycle {
    prevent_destroy = true
  }
}

# Signing, and reading the public half; nobody here may change or destroy the key.
resource "google_kms_crypto_key_iam_member" "signers" {
  for_each = var.signers

  crypto_key_id = google_kms_crypto_key.root.id
  role          = "roles/cloudkms.signerVerifier"
  member        = "serviceAccount:${each.value}"
}
