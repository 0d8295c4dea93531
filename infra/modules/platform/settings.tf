# Each process is somebody of its own: what it may do is given where it is kept, to its account, and for one thing each.
resource "google_service_account" "main" {
  for_each = merge(
    { for name in keys(local.functions) : name => "The function ${name}" },
    { worker = "The worker", migrator = "Migrates the database" },
  )

  project      = local.project
  account_id   = contains(keys(local.functions), each.key) ? "function-${each.key}" : each.key
  display_name = each.value
}

# What each process is told: `uses` in functions.yaml becomes environment variables, secrets and rights here, and nowhere else.
locals {
  accounts = google_service_account.main

  # Google's, until scripts/deploy brings the first image: it answers every path.
  placeholder        = "us-docker.pkg.dev/cloudrun/container/hello"
  placeholder_worker = "us-docker.pkg.dev/cloudrun/container/worker-pool"

  collector = var.sizes.metrics ? merge(local.secret["collector"], {
    image = var.collector_image
  }) : null

  # The collector shares the network of what it reads, so that nobody else can.
  metrics = { METRICS_HOST = "127.0.0.1", METRICS_PORT = "9090" }

  http = merge(local.metrics, length(var.cors_origins) == 0 ? {} : { CORS_ORIGINS = join(",", var.cors_origins) }, {
    # The load balancer appends the client's address and its own to X-Forwarded-For.
    TRUSTED_PROXY_HOPS       = "2"
    LIMIT_ANONYMOUS_PER_HOUR = tostring(var.limits.anonymous_per_hour)
    LIMIT_PRINCIPAL_PER_HOUR = tostring(var.limits.principal_per_hour)
    LIMIT_PUBLIC_PER_HOUR    = tostring(var.limits.public_per_hour)
  })

  settings_of = {
    # Redis shows a certificate of its own CA, Google's services and the issuers of tokens those that everybody knows.
    redis   = { REDIS_CA_FILE = "/certificates/redis/redis.pem" }
    sealing = {}
    tokens = {
      GOOGLE_IDENTITY_PROJECT = module.identity.project
      OIDC_ISSUERS            = jsonencode([for issuer in var.oidc_issuers : { for name, value in issuer : name => value if value != null }])
      STAFF_ISSUERS = join(",", [
        for name in var.staff_issuers : name == "google" ? "https://securetoken.google.com/${module.identity.project}" : name
      ])
    }
    root = { KMS_KEY_VERSION = module.kms.key_version }
  }

  secrets_of = {
    redis   = { REDIS_URL = "redis-url" }
    sealing = { SEALING_KEY = "sealing-key" }
    tokens  = {}
    root    = {}
  }

  settings = {
    for name, process in local.processes : name => merge(
      {
        DATABASE_POOL_SIZE = tostring(process.pool_size)
        DATABASE_CA_FILE   = "/certificates/postgres/postgres.pem"
        # What a trace's name in the log begins with.
        GOOGLE_CLOUD_PROJECT = var.project
      },
      var.otlp_endpoint == null ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = var.otlp_endpoint },
      [for use in process.uses : local.settings_of[use]]...
    )
  }

  # Every process tells Sentry of its errors, where there is one.
  sentry = nonsensitive(var.sentry_dsn != null) ? { SENTRY_DSN = "sentry-dsn" } : {}

  # Which secret each process has for which variable.
  wanted = {
    for name, process in local.processes : name => merge(
      { DATABASE_URL = "database-url-${name}" },
      local.sentry,
      [for use in process.uses : local.secrets_of[use]]...
    )
  }

  secret = { for name, id in module.secrets.ready : name => { secret = id, version = module.secrets.versions[name] } }

  secrets = { for name, wanted in local.wanted : name => { for variable, secret in wanted : variable => local.secret[secret] } }

  files = {
    for name, process in local.processes : name => merge(
      { postgres = merge(local.secret["postgres-certificates"], { file = "postgres.pem", folder = "/certificates/postgres" }) },
      contains(process.uses, "redis") ? {
        redis = merge(local.secret["redis-certificates"], { file = "redis.pem", folder = "/certificates/redis" })
      } : {},
    )
  }

  # What is in the secrets. They are in OpenTofu's state too, which is why its bucket is for whoever may see them.
  contents = merge(
    { for name in keys(local.processes) : "database-url-${name}" => module.database.urls[replace(name, "-", "_")] },
    {
      database-url-owner      = module.database.owner
      database-password-owner = module.database.owner_password
      logins                  = module.database.make_logins
      postgres-certificates   = module.database.certificates
      redis-certificates      = module.redis.certificates
      redis-url               = module.redis.url
      sealing-key             = random_bytes.sealing.base64
      candidate-key           = random_password.candidate.result
      collector               = file("${path.module}/../../collector.yaml")
    },
    { for secret in values(local.sentry) : secret => var.sentry_dsn },
  )

  secret_names = concat(
    [for name in keys(local.processes) : "database-url-${name}"],
    [
      "database-url-owner", "database-password-owner", "logins", "postgres-certificates", "redis-certificates", "redis-url", "sealing-key",
      "candidate-key", "collector",
    ],
    values(local.sentry),
  )

  owners = ["database-url-owner", "database-password-owner", "logins", "postgres-certificates"]

  # Each account reads what its own process is given, and nothing of another's.
  readers = {
    for secret in local.secret_names : secret => merge(
      {
        for name, wanted in local.wanted : name => local.accounts[name].email
        if contains(values(wanted), secret) || secret == "postgres-certificates" || (secret == "collector" && var.sizes.metrics) || (
          secret == "redis-certificates" && contains(local.processes[name].uses, "redis")
        )
      },
      contains(local.owners, secret) ? { migrator = local.accounts.migrator.email } : {},
      secret == "candidate-key" ? { deployer = module.delivery.forge.DEPLOYER } : {},
    )
  }
}

# Seals the private halves of the leaf keys. A new one is put in front of the old by hand, as jobs/README.md tells; this one stays.
resource "random_bytes" "sealing" {
  length = 32

  lifecycle {
    prevent_destroy = true
  }
}

# What scripts/deploy shows to reach revisions without traffic. A new one is made by `tofu apply -replace`, as infra/README.md tells.
resource "random_password" "candidate" {
  length  = 40
  special = false
}

module "secrets" {
  source = "../secrets"

  project = local.project
  region  = var.region
  names   = local.secret_names
  values  = local.contents
  readers = local.readers
}

# Metrics go to the project, and so does nothing else.
resource "google_project_iam_member" "metrics" {
  for_each = toset(var.sizes.metrics ? keys(local.processes) : [])

  project = var.project
  role    = "roles/monitoring.metricWriter"
  member  = "serviceAccount:${local.accounts[each.value].email}"
}
