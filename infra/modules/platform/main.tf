# The whole platform in one project: what an environment calls with its sizes.
locals {
  name  = "coditect"
  table = yamldecode(file("${path.module}/../../functions.yaml"))

  functions = {
    for name, function in local.table.functions : name => merge(function, {
      instances = { min = function.instances[var.environment][0], max = function.instances[var.environment][1] }
    })
  }
  worker    = merge(local.table.worker, { instances = local.table.worker.instances[var.environment] })
  processes = merge(local.functions, { worker = local.worker })

  # Connections that each login may need: while traffic moves, two revisions of a function can have all their instances. The worker has
  # one instance more while it is replaced.
  connections = merge(
    { for name, function in local.functions : name => function.pools * function.pool_size * function.instances.max },
    { worker = local.worker.pools * local.worker.pool_size * (local.worker.instances + 1) },
  )
  # One function is deployed at a time, so that the greatest counts twice; ten are for whoever migrates, backs up or looks.
  needed = sum(values(local.connections)) + max(values(local.connections)...) + 10
}

check "connections" {
  assert {
    condition     = local.needed < var.sizes.database.max_connections
    error_message = "The pools of all instances may need ${local.needed} connections, and PostgreSQL accepts ${var.sizes.database.max_connections}."
  }
}

resource "google_project_service" "main" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "certificatemanager.googleapis.com",
    "cloudkms.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "iamcredentials.googleapis.com",
    "identitytoolkit.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "redis.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "servicenetworking.googleapis.com",
    "sqladmin.googleapis.com",
    "sts.googleapis.com",
  ])

  project            = var.project
  service            = each.value
  disable_on_destroy = false
}

locals {
  # Whoever uses the project by this name waits until all of its services are on: naming one of them would be waiting for that one alone.
  project = one(distinct([for service in google_project_service.main : service.project]))
}

data "google_project" "main" {
  project_id = var.project
}

module "network" {
  source = "../network"

  project         = local.project
  region          = var.region
  name            = local.name
  functions_range = "10.10.0.0/22"
  services_range  = "10.20.0.0/16"
}

module "database" {
  source = "../database"

  project             = local.project
  region              = var.region
  name                = local.name
  network             = module.network.services
  tier                = var.sizes.database.tier
  highly_available    = var.sizes.highly_available
  disk_gb             = var.sizes.database.disk_gb
  max_connections     = var.sizes.database.max_connections
  retained_backups    = var.sizes.database.retained_backups
  deletion_protection = var.protected
  people              = var.people

  logins = {
    for name, process in local.processes : replace(name, "-", "_") => { roles = process.roles, connections = 2 * local.connections[name] }
  }
}

module "redis" {
  source = "../redis"

  project          = local.project
  region           = var.region
  name             = local.name
  network          = module.network.services
  memory_gb        = var.sizes.redis.memory_gb
  highly_available = var.sizes.highly_available
}

module "kms" {
  source = "../kms"

  project          = local.project
  region           = var.region
  name             = local.name
  protection_level = var.sizes.root_in_hardware ? "HSM" : "SOFTWARE"

  # Whoever makes the first customer signs its license, besides those that sign as they serve.
  signers = merge(
    { for name, process in local.processes : name => local.accounts[name].email if contains(process.uses, "root") },
    { migrator = local.accounts["migrator"].email },
  )
}

module "pubsub" {
  source = "../pubsub"

  project = local.project
  region  = var.region
  name    = "jobs"
  worker  = local.accounts["worker"].email
}

module "scheduler" {
  source = "../scheduler"

  project = local.project
  region  = var.region
  topic   = module.pubsub.topic

  jobs = {
    for job in jsondecode(file("${path.module}/../../jobs.json")) : job.job => {
      summary = job.summary
      cron    = job.cron
      message = jsonencode(job.message)
    }
  }
}

module "function" {
  source   = "../function"
  for_each = local.functions

  project             = local.project
  region              = var.region
  name                = each.key
  prefix              = local.name
  service_account     = local.accounts[each.key].email
  image               = local.placeholder
  cpu                 = each.value.cpu
  memory              = each.value.memory
  concurrency         = each.value.concurrency
  instances           = each.value.instances
  network             = module.network.network
  subnetwork          = module.network.subnetwork
  settings            = merge(local.settings[each.key], local.http)
  secrets             = local.secrets[each.key]
  files               = local.files[each.key]
  collector           = local.collector
  deletion_protection = var.protected
}

module "worker" {
  source = "../worker"

  project             = local.project
  region              = var.region
  service_account     = local.accounts["worker"].email
  image               = local.placeholder_worker
  cpu                 = local.worker.cpu
  memory              = local.worker.memory
  instances           = local.worker.instances
  network             = module.network.network
  subnetwork          = module.network.subnetwork
  settings            = merge(local.settings.worker, local.metrics, { PUBSUB_SUBSCRIPTION = module.pubsub.subscription })
  secrets             = local.secrets.worker
  files               = local.files.worker
  collector           = local.collector
  deletion_protection = var.protected
  psql_image          = var.psql_image

  migrator = {
    service_account = local.accounts["migrator"].email
    database_url    = local.secret["database-url-owner"]
    password        = local.secret["database-password-owner"]
    certificates    = local.secret["postgres-certificates"]
    logins          = local.secret["logins"]
    psql            = module.database.psql
  }
}

module "edge" {
  source = "../edge"

  project         = local.project
  name            = local.name
  domain          = var.domain
  log_sample_rate = var.sizes.log_sample_rate

  functions = {
    for name, function in local.functions : name => {
      paths     = function.paths
      live      = module.function[name].endpoint_groups.live
      candidate = module.function[name].endpoint_groups.candidate
    }
  }

  candidate_key = random_password.candidate.result
}

module "identity" {
  source = "../identity"

  project            = local.project
  authorized_domains = [var.domain]
  oauth_clients      = var.oauth_clients
}

module "observability" {
  source = "../observability"

  project           = local.project
  name              = local.name
  domain            = var.domain
  emails            = var.emails
  functions         = keys(local.functions)
  checked           = [for name, function in local.functions : name if function.instances.min > 0]
  metrics           = var.sizes.metrics
  rules             = file("${path.module}/../../alerts.yaml")
  dashboard         = "${path.module}/../../dashboards/cloud-monitoring.json"
  database          = module.database.instance
  max_connections   = var.sizes.database.max_connections
  redis             = module.redis.instance
  url_map           = module.edge.url_map
  subscription      = basename(module.pubsub.subscription)
  dead_subscription = module.pubsub.dead_subscription

  budget = var.billing_account == null ? null : {
    billing_account = var.billing_account
    project_number  = data.google_project.main.number
    amount          = var.sizes.budget
  }
}

module "delivery" {
  source = "../delivery"

  project     = local.project
  region      = var.region
  name        = local.name
  environment = var.environment
  repository  = var.repository
  functions   = { for name, function in module.function : name => { service = function.service, account = local.accounts[name].name } }
  worker      = { pool = module.worker.worker_pool, account = local.accounts["worker"].name }
  migrator    = { job = module.worker.jobs.migrate, account = local.accounts["migrator"].name }
}
