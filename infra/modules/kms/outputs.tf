output "key_version" {
  description = "KMS_KEY_VERSION: projects/…/cryptoKeyVersions/…"
  value       = google_kms_crypto_key_version.root.name
}

output "key" {
  description = "The key, without its version"
  value       = google_kms_crypto_key.root.id
}
