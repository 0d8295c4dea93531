resource "google_compute_network" "main" {
  project                 = var.project
  name                    = var.name
  auto_create_subnetworks = false
  routing_mode            = "REGIONAL"
}

# Direct VPC egress takes addresses from here: Cloud Run may need four for each instance while revisions change.
resource "google_compute_subnetwork" "functions" {
  #checkov:skip=CKV_GCP_76:IPv6 is not used in this network, so there is no private IPv6 access to turn on.
  project                  = var.project
  name                     = "${var.name}-functions"
  region                   = var.region
  network                  = google_compute_network.main.id
  ip_cidr_range            = var.functions_range
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Cloud SQL and Memorystore live in Google's network, which is peered with this one through this range.
resource "google_compute_global_address" "services" {
  project       = var.project
  name          = "${var.name}-services"
  purpose       = "VPC_PEERING"
  address_type  = "INTERNAL"
  network       = google_compute_network.main.id
  address       = cidrhost(var.services_range, 0)
  prefix_length = tonumber(split("/", var.services_range)[1])
}

resource "google_service_networking_connection" "services" {
  network                 = google_compute_network.main.id
  service                 = "servicenetworking.googleapis.com"
  reserved_peering_ranges = [google_compute_global_address.services.name]
}

resource "google_compute_router" "nat" {
  project = var.project
  name    = "${var.name}-nat"
  region  = var.region
  network = google_compute_network.main.id
}

# For what is not Google's: the issuers of sign-in tokens. Nothing comes in this way.
resource "google_compute_router_nat" "nat" {
  project                            = var.project
  name                               = "${var.name}-nat"
  router                             = google_compute_router.nat.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "LIST_OF_SUBNETWORKS"

  subnetwork {
    name                    = google_compute_subnetwork.functions.id
    source_ip_ranges_to_nat = ["ALL_IP_RANGES"]
  }

  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

resource "google_compute_firewall" "deny_in" {
  project       = var.project
  name          = "${var.name}-deny-in"
  description   = "Nothing reaches an instance through this network: requests come by the load balancer"
  network       = google_compute_network.main.id
  direction     = "INGRESS"
  priority      = 65000
  source_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }

  log_config {
    metadata = "EXCLUDE_ALL_METADATA"
  }
}

resource "google_compute_firewall" "allow_out" {
  project            = var.project
  name               = "${var.name}-allow-out"
  description        = "PostgreSQL and Redis, by TLS"
  network            = google_compute_network.main.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = [var.services_range]

  allow {
    protocol = "tcp"
    ports    = ["5432", "6378"]
  }
}

resource "google_compute_firewall" "allow_out_https" {
  project            = var.project
  name               = "${var.name}-allow-out-https"
  description        = "Google's own services, the issuers of sign-in tokens, and Sentry"
  network            = google_compute_network.main.id
  direction          = "EGRESS"
  priority           = 1000
  destination_ranges = ["0.0.0.0/0"]

  allow {
    protocol = "tcp"
    ports    = ["443"]
  }
}

resource "google_compute_firewall" "deny_out" {
  project            = var.project
  name               = "${var.name}-deny-out"
  description        = "Everything else"
  network            = google_compute_network.main.id
  direction          = "EGRESS"
  priority           = 65000
  destination_ranges = ["0.0.0.0/0"]

  deny {
    protocol = "all"
  }
}
