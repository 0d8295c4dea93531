# Who may do what from the forge.
mock_provider "google" {}

variables {
  project     = "my-project"
  region      = "europe-west1"
  name        = "coditect"
  environment = "prod"
  repository  = "coditect/licenses"
  functions = {
    acquire = { service = "acquire", account = "projects/p/serviceAccounts/function-acquire" }
    admin   = { service = "admin", account = "projects/p/serviceAccounts/function-admin" }
  }
  worker   = { pool = "worker", account = "projects/p/serviceAccounts/worker" }
  migrator = { job = "migrate", account = "projects/p/serviceAccounts/migrator" }
}

run "deployer_acts_as_what_it_deploys_and_as_nobody_else" {
  command = apply

  assert {
    condition     = toset([for right in google_service_account_iam_member.acts_as : right.service_account_id]) == toset(concat([for function in var.functions : function.account], [var.worker.account]))
    error_message = "The deployer acts as functions and worker."
  }

  assert {
    condition     = alltrue([for right in google_service_account_iam_member.acts_as : right.role == "roles/iam.serviceAccountUser"])
    error_message = "It may act as them, and not make keys for them."
  }

  assert {
    condition     = toset([for right in google_project_iam_member.deployer : right.role]) == toset(["roles/run.viewer", "roles/logging.viewer"])
    error_message = "In the whole project the deployer changes nothing: whoever may change every job may be the migrator."
  }

  assert {
    condition     = toset([for right in google_cloud_run_v2_service_iam_member.deployer : right.name]) == toset(["acquire", "admin"])
    error_message = "The deployer changes the functions."
  }
}

run "migrations_are_apart_from_deploys" {
  command = apply

  assert {
    condition     = google_service_account_iam_member.migrations_act_as.service_account_id == var.migrator.account
    error_message = "Whoever migrates acts as the migrator."
  }

  assert {
    condition     = google_artifact_registry_repository_iam_member.migrations.repository != google_artifact_registry_repository_iam_member.deployer.repository
    error_message = "The deployer cannot push what migrates."
  }

  assert {
    condition     = google_cloud_run_v2_job_iam_member.migrations.name == "migrate"
    error_message = "Whoever migrates changes one job."
  }

  assert {
    condition = length(distinct([
      google_service_account_iam_member.deployer.member, google_service_account_iam_member.migrations.member, google_service_account_iam_member.planner.member,
    ])) == 3
    error_message = "Each account belongs to an environment of its own."
  }
}

run "planner_sees_no_secret" {
  command = apply

  assert {
    condition     = toset([for right in google_project_iam_member.planner : right.role]) == toset(["roles/browser", "roles/serviceusage.serviceUsageConsumer"])
    error_message = "The planner reads the project's name, and neither secrets nor what runs."
  }
}
