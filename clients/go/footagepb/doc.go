// Package footagepb has every message, enum and service of the contract heldar.footage.v1. Their comments are the manual.
//
// Everything but this file is generated from the protos by generate.sh. Programs use the services through the package
// footage, whose calls have deadlines and typed errors.
package footagepb
