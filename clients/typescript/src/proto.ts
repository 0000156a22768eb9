/** Every message, enum and service of the contract. Their comments are the manual. */

export * from "./gen/heldar/footage/v1/archive_pb.js";
export * from "./gen/heldar/footage/v1/archive_resources_pb.js";
export * from "./gen/heldar/footage/v1/backup_destination_pb.js";
export * from "./gen/heldar/footage/v1/backup_pb.js";
export * from "./gen/heldar/footage/v1/backup_policy_pb.js";
export * from "./gen/heldar/footage/v1/backup_resources_pb.js";
export * from "./gen/heldar/footage/v1/catalog_pb.js";
export * from "./gen/heldar/footage/v1/catalog_resources_pb.js";
export * from "./gen/heldar/footage/v1/clip_pb.js";
export * from "./gen/heldar/footage/v1/clip_resources_pb.js";
export * from "./gen/heldar/footage/v1/common_pb.js";
export * from "./gen/heldar/footage/v1/error_pb.js";
export * from "./gen/heldar/footage/v1/job_pb.js";
