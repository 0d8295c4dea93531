# Plans and applies the whole platform against nothing: Google's provider is stood in for by values that terraform makes up. run.py in
# infra/checks calls it with the sizes of each environment.
mock_provider "google" {
  mock_resource "google_sql_database_instance" {
    defaults = {
      private_ip_address = "10.20.0.3"
      dns_name           = "abc.def.europe-west1.sql.goog."
      server_ca_cert     = [{ cert = "PEM", common_name = "ca", create_time = "t", expiration_time = "t", sha1_fingerprint = "f" }]
    }
  }

  mock_resource "google_redis_instance" {
    defaults = {
      host            = "10.20.1.3"
      port            = 6378
      auth_string     = "secret"
      server_ca_certs = [{ cert = "PEM", create_time = "t", expire_time = "t", serial_number = "1", sha1_fingerprint = "f" }]
    }
  }

  mock_resource "google_kms_crypto_key_version" {
    defaults = { name = "projects/p/locations/l/keyRings/r/cryptoKeys/root/cryptoKeyVersions/1" }
  }

  mock_resource "google_certificate_manager_dns_authorization" {
    defaults = { dns_resource_record = [{ name = "_acme-challenge.", type = "CNAME", data = "authorize.goog." }] }
  }
}

mock_provider "random" {
  mock_resource "random_password" {
    defaults = { result = "0123456789abcdefghijklmnopqrstuvwxyzABCD" }
  }
}

run "an_environment_is_made_in_one_apply" {
  command = apply

  assert {
    condition     = toset(keys(module.function)) == toset(keys(yamldecode(file("../../functions.yaml")).functions))
    error_message = "Each function of the table is a service, and nothing else is."
  }

  assert {
    condition     = output.connections.needed < output.connections.accepted
    error_message = "The pools need more connections than PostgreSQL accepts."
  }

  assert {
    condition     = length(output.dns_records) == 4
    error_message = "Two hosts have an address and a proof each."
  }
}

run "each_process_reads_its_own_secrets_and_nobody_elses" {
  command = apply

  assert {
    condition = alltrue([for name in keys(local.processes) :
      join(" ", keys(local.readers["database-url-${name}"])) == name && join(" ", keys(local.readers["database-url-owner"])) == "migrator"
    ])
    error_message = "A login is one process's own, and the owner's is whose who migrates."
  }

  assert {
    condition     = join(" ", keys(local.readers["sealing-key"])) == join(" ", [for name, process in local.processes : name if contains(process.uses, "sealing")])
    error_message = "Only who seals has the key."
  }

  assert {
    condition     = !contains(flatten([for readers in local.readers : values(readers)]), "")
    error_message = "Nobody is nobody."
  }
}

run "candidate_key_is_read_by_the_deployer_alone" {
  command = apply

  assert {
    condition     = join(" ", keys(local.readers["candidate-key"])) == "deployer"
    error_message = "Only scripts/deploy shows the key."
  }

  assert {
    condition     = !anytrue(flatten([for secret, readers in local.readers : contains(keys(readers), "deployer") if secret != "candidate-key"]))
    error_message = "The deployer reads no other secret."
  }
}

run "metrics_are_for_the_collector_beside_alone" {
  command = apply

  assert {
    condition     = local.metrics["METRICS_HOST"] == "127.0.0.1" && local.http["METRICS_HOST"] == "127.0.0.1"
    error_message = "The metrics page is on loopback, in functions as in the worker."
  }
}

run "an_image_by_its_tag_is_refused" {
  command = plan

  variables {
    psql_image      = "docker.io/library/postgres:16"
    collector_image = "us-docker.pkg.dev/collector:1.2.0"
  }

  expect_failures = [var.psql_image, var.collector_image]
}

run "whoever_signs_with_the_root_is_told_where_it_is" {
  command = apply

  assert {
    condition = alltrue([for name, process in local.processes :
      contains(keys(local.settings[name]), "KMS_KEY_VERSION") == contains(process.uses, "root")
    ])
    error_message = "KMS_KEY_VERSION goes with the right to sign."
  }
}

run "whoever_asks_redis_has_the_ca_where_it_is_told_to_look" {
  command = apply

  assert {
    condition = alltrue([for name, process in local.processes : !contains(process.uses, "redis") || (
      local.settings[name]["REDIS_CA_FILE"] == "${local.files[name]["redis"].folder}/${local.files[name]["redis"].file}"
      && contains(keys(local.readers["redis-certificates"]), name)
    )])
    error_message = "REDIS_CA_FILE names the file that the secret with Redis' certificates is, and the process may read it."
  }

  assert {
    condition     = nonsensitive(module.redis.certificates) == "PEM"
    error_message = "The secret has the instance's certificates."
  }
}

run "without_sentry_nobody_is_told_of_it" {
  command = plan

  assert {
    condition     = !contains(local.secret_names, "sentry-dsn") && !anytrue([for wanted in local.wanted : contains(keys(wanted), "SENTRY_DSN")])
    error_message = "There is no Sentry unless there is a DSN."
  }
}

run "with_sentry_every_process_and_nobody_else_may_tell_it" {
  command = apply

  variables {
    sentry_dsn = "https://abc123@o1.ingest.de.sentry.io/42"
  }

  assert {
    condition     = nonsensitive(local.contents["sentry-dsn"]) == var.sentry_dsn
    error_message = "The secret is the DSN."
  }

  assert {
    condition = join(" ", keys(local.readers["sentry-dsn"])) == join(" ", keys(local.processes)) && alltrue([
      for secrets in local.secrets : secrets["SENTRY_DSN"].secret == local.secret["sentry-dsn"].secret
    ])
    error_message = "Every process has the DSN as a secret, and the migrator has not."
  }
}

run "what_is_no_dsn_is_refused" {
  command = plan

  variables {
    sentry_dsn = "https://sentry.example/42"
  }

  expect_failures = [var.sentry_dsn]
}

run "too_few_connections_are_noticed" {
  command = plan

  variables {
    sizes = {
      highly_available = false
      root_in_hardware = false
      metrics          = true
      log_sample_rate  = 1
      budget           = 1
      database         = { tier = "db-g1-small", disk_gb = 10, max_connections = 30, retained_backups = 7 }
      redis            = { memory_gb = 1 }
    }
  }

  expect_failures = [check.connections]
}

run "what_cannot_be_meant_is_refused" {
  command = plan

  variables {
    domain          = "https://licenses.example.com"
    emails          = ["nobody"]
    people          = ["nobody"]
    repository      = "licenses"
    billing_account = "mine"
    otlp_endpoint   = "http://traces.example.com:4318"
  }

  expect_failures = [var.domain, var.emails, var.people, var.repository, var.billing_account, var.otlp_endpoint]
}

run "a_wrong_environment_is_refused" {
  command = plan

  variables {
    environment = "test"
  }

  expect_failures = [var.environment]
}

run "traces_go_where_they_are_told_to_and_else_nowhere" {
  command = plan

  assert {
    condition     = !anytrue([for settings in local.settings : contains(keys(settings), "OTEL_EXPORTER_OTLP_ENDPOINT")])
    error_message = "Nobody sends traces unless told."
  }
}

run "whoever_is_told_sends_traces" {
  command = plan

  variables {
    otlp_endpoint = "https://traces.example.com"
  }

  assert {
    condition     = alltrue([for settings in local.settings : settings["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://traces.example.com"])
    error_message = "Every process sends its traces there."
  }
}
