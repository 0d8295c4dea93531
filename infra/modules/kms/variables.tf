variable "project" {
  description = "The project's id"
  type        = string
}

variable "region" {
  description = "Where the key is kept"
  type        = string
}

variable "name" {
  description = "What the key ring is called; a key ring cannot be deleted"
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}$", var.name))
    error_message = "name is of small letters, digits and hyphens, at most 31 of them, and begins with a letter."
  }
}

variable "protection_level" {
  description = "SOFTWARE, or HSM for a key that never leaves a hardware security module"
  type        = string

  validation {
    condition     = contains(["SOFTWARE", "HSM"], var.protection_level)
    error_message = "protection_level is SOFTWARE or HSM."
  }
}

variable "signers" {
  description = "Service accounts that sign with the root, by what they belong to"
  type        = map(string)
}
