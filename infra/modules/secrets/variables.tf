variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where the secrets are kept"
  type        = string
}

variable "names" {
  description = "The secrets there are"
  type        = set(string)

  validation {
    condition     = alltrue([for name in var.names : can(regex("^[a-z][a-z0-9-]{0,254}$", name))])
    error_message = "A secret's name is of small letters, digits and hyphens."
  }
}

variable "values" {
  description = "What is in them, by name"
  type        = map(string)
  sensitive   = true

  validation {
    condition     = alltrue([for value in values(var.values) : length(value) > 0])
    error_message = "No secret is empty."
  }
}

variable "readers" {
  description = "Who reads each: secret → what the account belongs to → service account"
  type        = map(map(string))
}
