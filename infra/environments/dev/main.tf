# The same in every environment, which link to this file: what differs stands in sizes.auto.tfvars and terraform.tfvars alone.
terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50, < 7"
    }
    random = {
      source  = "hashicorp/random"
      version = "~> 3.6"
    }
  }

  # Which bucket is told to `tofu init` by -backend-config: it has the passwords, and is for whoever may see them.
  backend "gcs" {}
}

provider "google" {
  project               = var.project
  region                = var.region
  user_project_override = true
  billing_project       = var.project
}

module "platform" {
  source = "../../modules/platform"

  project         = var.project
  region          = var.region
  environment     = basename(abspath(path.root))
  domain          = var.domain
  emails          = var.emails
  people          = var.people
  otlp_endpoint   = var.otlp_endpoint
  repository      = var.repository
  billing_account = var.billing_account
  staff_issuers   = var.staff_issuers
  cors_origins    = var.cors_origins
  oauth_clients   = var.oauth_clients
  psql_image      = var.psql_image
  collector_image = var.collector_image
  sentry_dsn      = var.sentry_dsn
  protected       = var.protected
  sizes           = var.sizes
}

output "platform" {
  description = "What whoever deploys, and whoever keeps the domain, needs to know"
  value       = module.platform
}
