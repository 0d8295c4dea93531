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

# What the job `migrate` runs, apart from all else: whoever writes here can do everything to the database.
resource "google_artifact_registry_repository" "migrations" {
  #checkov:skip=CKV_GCP_84:Images hold nothing that is secret, and Google encrypts them at rest; a key of one's own could keep a deploy from happening.
  project       = var.project
  location      = var.region
  repository_id = "${var.name}-migrations"
  format        = "DOCKER"
  description   = "The images that migrate, each named by the commit it was built from"

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

# Deploys functions and worker: new revisions and their traffic, and images. It may act as what it deploys and as nobody else, the migrator
# least of all, and of all secrets it reads the one that opens candidate.DOMAIN.
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

# The log of requests tells it how many of a new revision's answers are errors. What it changes is named below, one by one: the right to
# change every service of the project would be the right to run the jobs with other arguments, too.
resource "google_project_iam_member" "deployer" {
  for_each = toset(["roles/run.viewer", "roles/logging.viewer"])

  project = var.project
  role    = each.value
  member  = google_service_account.deployer.member
}

resource "google_cloud_run_v2_service_iam_member" "deployer" {
  for_each = var.functions

  project  = var.project
  location = var.region
  name     = each.value.service
  role     = "roles/run.developer"
  member   = google_service_account.deployer.member
}

resource "google_cloud_run_v2_worker_pool_iam_member" "deployer" {
  project  = var.project
  location = var.region
  name     = var.worker.pool
  role     = "roles/run.developer"
  member   = google_service_account.deployer.member
}

resource "google_artifact_registry_repository_iam_member" "deployer" {
  project    = var.project
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.deployer.member
}

resource "google_service_account_iam_member" "acts_as" {
  for_each = merge({ for name, function in var.functions : name => function.account }, { worker = var.worker.account })

  service_account_id = each.value
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.deployer.member
}

# Migrates: gives the job `migrate` the image of a commit, and runs it. What that job runs can do everything to the database, so its images
# are in a registry that the deployer cannot write to, and its environment on the forge has reviewers of its own.
resource "google_service_account" "migrations" {
  project      = var.project
  account_id   = "migrations"
  display_name = "Migrates from the forge"
}

resource "google_service_account_iam_member" "migrations" {
  service_account_id = google_service_account.migrations.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "${local.pool}/attribute.environment/${var.repository}/${var.environment}-migrate"
}

resource "google_project_iam_member" "migrations" {
  project = var.project
  role    = "roles/run.viewer"
  member  = google_service_account.migrations.member
}

resource "google_cloud_run_v2_job_iam_member" "migrations" {
  project  = var.project
  location = var.region
  name     = var.migrator.job
  role     = "roles/run.developer"
  member   = google_service_account.migrations.member
}

resource "google_artifact_registry_repository_iam_member" "migrations" {
  project    = var.project
  location   = google_artifact_registry_repository.migrations.location
  repository = google_artifact_registry_repository.migrations.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.migrations.member
}

resource "google_service_account_iam_member" "migrations_act_as" {
  service_account_id = var.migrator.account
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.migrations.member
}

# Plans a pull request, once a reviewer has let it run. It sees no secret: neither Secret Manager, nor what runs, nor OpenTofu's state, which
# has all passwords in it, but a copy of the state without them (infra/redact-state), which infra/README.md lets it read. So it
# compares with what the last apply has made, and not with what somebody has changed by hand since.
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

# The project's number is looked up in every plan, and calls are counted for this project.
resource "google_project_iam_member" "planner" {
  for_each = toset(["roles/browser", "roles/serviceusage.serviceUsageConsumer"])

  project = var.project
  role    = each.value
  member  = google_service_account.planner.member
}
