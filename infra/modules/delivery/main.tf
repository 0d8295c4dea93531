resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:Images hold nothing that is secret, and Google encrypts them at rest; a key of one's own could keep a deploy from happening.
  project       = var.project
  location      = var.region
  repository_id = var.name
  format        = "DOCKER"
  description   = "The functions' images, each named by the commit it was built from"

  docker_config {
    immutable_tags = true
  }

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"

    most_recent_versions {
      keep_count = 20
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "7776000s"
    }
  }
}

# The forge shows a token of its own for each run, which Google takes for an account's: there is no key that could leak.
resource "google_iam_workload_identity_pool" "forge" {
  project                   = var.project
  workload_identity_pool_id = "forge"
  display_name              = "The forge's workflows"
}

resource "google_iam_workload_identity_pool_provider" "github" {
  #checkov:skip=CKV_GCP_125:The condition below names the repository by its full name and the environment's own.
  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.forge.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub Actions"
  attribute_condition                = "assertion.repository == '${var.repository}'"

  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
    # Only a run that the environment's rules have let in carries its name.
    "attribute.environment" = "assertion.repository + '/' + assertion.environment"
  }

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

locals {
  pool = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.forge.name}"
}

# Deploys: new revisions and their traffic, and images. It may act as the functions, and can read none of their secrets.
resource "google_service_account" "deployer" {
  project      = var.project
  account_id   = "deployer"
  display_name = "Deploys from the forge"
}

resource "google_service_account_iam_member" "deployer" {
  service_account_id = google_service_account.deployer.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "${local.pool}/attribute.environment/${var.repository}/${var.environment}"
}

# The log of requests tells it how many of a new revision's answers are errors.
resource "google_project_iam_member" "deployer" {
  for_each = toset(["roles/run.developer", "roles/logging.viewer"])

  project = var.project
  role    = each.value
  member  = google_service_account.deployer.member
}

resource "google_artifact_registry_repository_iam_member" "deployer" {
  project    = var.project
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.deployer.member
}

resource "google_service_account_iam_member" "acts_as" {
  for_each = var.accounts

  service_account_id = each.value
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deployer.member
}

# Plans: sees everything, and changes nothing. To compare what is in a secret with what should be, it must read it; it is as trusted as the
# state is, and the environment's rules on the forge say who may let it run.
resource "google_service_account" "planner" {
  project      = var.project
  account_id   = "planner"
  display_name = "Plans from the forge"
}

resource "google_service_account_iam_member" "planner" {
  service_account_id = google_service_account.planner.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "${local.pool}/attribute.environment/${var.repository}/${var.environment}-plan"
}

resource "google_project_iam_member" "planner" {
  #checkov:skip=CKV_GCP_117:A plan reads every kind of thing there is in the project; a list of twenty viewers' roles would be the same, and break with each new module.
  for_each = toset([
    "roles/viewer", "roles/iam.securityReviewer", "roles/secretmanager.secretAccessor", "roles/serviceusage.serviceUsageConsumer",
  ])

  project = var.project
  role    = each.value
  member  = google_service_account.planner.member
}

# Whoever reads an instance of Redis as OpenTofu does asks for its password too, which only those that may change it are given otherwise.
resource "google_project_iam_custom_role" "planner" {
  project     = var.project
  role_id     = "planner"
  title       = "Reads what roles/viewer leaves out"
  permissions = ["redis.instances.getAuthString"]
}

resource "google_project_iam_member" "planner_left_out" {
  project = var.project
  role    = google_project_iam_custom_role.planner.name
  member  = google_service_account.planner.member
}
