variable "project" {
  description = "The project's id"
  type        = string
}

variable "name" {
  description = "What names begin with"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "name is of small letters, digits and hyphens, at most 31 of them, and begins with a letter."
  }
}

variable "domain" {
  description = "The API's host name"
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain))
    error_message = "domain is a host name such as licenses.example.com, in small letters."
  }
}

variable "emails" {
  description = "Who is told"
  type        = set(string)

  validation {
    condition     = length(var.emails) > 0 && alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "emails has at least one address."
  }
}

variable "functions" {
  description = "The functions, each of which has its objectives"
  type        = set(string)
}

variable "checked" {
  description = "The functions that are asked from outside every five minutes whether they are ready: each of them always has an instance then"
  type        = set(string)

  validation {
    condition     = alltrue([for function in var.checked : can(regex("^[a-z][a-z-]{0,30}$", function))])
    error_message = "checked has the names of functions."
  }
}

variable "availability_goal" {
  description = "The part of all requests that is answered without a fault"
  type        = number
  default     = 0.999

  validation {
    condition     = var.availability_goal > 0.9 && var.availability_goal < 1
    error_message = "availability_goal is between 0.9 and 1."
  }
}

variable "prompt_ms" {
  description = "Milliseconds within which 99 of 100 requests are answered"
  type        = number
  default     = 300

  validation {
    condition     = var.prompt_ms > 0
    error_message = "prompt_ms is above 0."
  }
}

variable "metrics" {
  description = "Whether collectors run, so that the rules on the platform's own metrics can be watched"
  type        = bool
}

variable "rules" {
  description = "infra/alerts.yaml"
  type        = string

  validation {
    condition     = can(yamldecode(var.rules).groups)
    error_message = "rules are those of Prometheus, in YAML."
  }
}

variable "dashboard" {
  description = "The file of the dashboard for Cloud Monitoring"
  type        = string

  validation {
    condition     = fileexists(var.dashboard)
    error_message = "dashboard is a file."
  }
}

variable "database" {
  description = "The database's instance, as PROJECT:NAME"
  type        = string
}

variable "max_connections" {
  description = "Connections that PostgreSQL accepts"
  type        = number

  validation {
    condition     = var.max_connections >= 25
    error_message = "max_connections is at least 25."
  }
}

variable "redis" {
  description = "The Redis instance, by its full name"
  type        = string
}

variable "url_map" {
  description = "The load balancer's URL map"
  type        = string
}

variable "subscription" {
  description = "Where the jobs wait for the worker"
  type        = string
}

variable "dead_subscription" {
  description = "Where dead letters wait"
  type        = string
}

variable "budget" {
  description = "How much a month, in the billing account's currency, before somebody is told; null where the account is not yours to watch"
  type        = object({ billing_account = string, project_number = string, amount = number })
  default     = null

  validation {
    condition     = var.budget == null ? true : var.budget.amount > 0
    error_message = "A budget is above 0."
  }
}
