output "versions" {
  description = "Each secret's version in force, so that a new one makes a new revision of what uses it"
  value       = { for name, version in google_secret_manager_secret_version.main : name => version.version }
}

output "ready" {
  description = "The secrets' names, once their readers may read them: whatever mounts one waits for it by using this"
  value       = { for name, secret in google_secret_manager_secret.main : name => secret.secret_id }
  depends_on  = [google_secret_manager_secret_iam_member.readers, google_secret_manager_secret_version.main]
}
