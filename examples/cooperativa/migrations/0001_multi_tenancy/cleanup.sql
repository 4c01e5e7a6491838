-- Rename, do not drop: indexes, keys and NOT NULL stay with the column, and triggers keep it true.
-- No statement may be inside a trigger that is replaced here: it would still read the former names.
LOCK TABLE "UsuarioCooperativa", "UsuarioRolGlobal" IN SHARE ROW EXCLUSIVE MODE;
ALTER TABLE "Usuario" RENAME COLUMN cooperativa_id TO zz_m0001_cooperativa_id;
ALTER TABLE "UsuarioRol" RENAME COLUMN usuario_id TO zz_m0001_usuario_id;
ALTER TABLE "UsuarioRol" RENAME COLUMN cooperativa_id TO zz_m0001_cooperativa_id;
DROP TRIGGER sereno_0001 ON "Usuario";

-- The new application writes memberships: the principal one is the cooperative of "Usuario".
CREATE OR REPLACE FUNCTION sereno_0001_membresia() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  IF TG_OP <> 'INSERT' AND OLD.es_principal
     AND (TG_OP = 'DELETE' OR NOT NEW.es_principal OR NEW.cooperativa_id <> OLD.cooperativa_id) THEN
    UPDATE "Usuario" SET zz_m0001_cooperativa_id = NULL
    WHERE id = OLD.usuario_id AND zz_m0001_cooperativa_id = OLD.cooperativa_id;
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.es_principal THEN
    UPDATE "Usuario" SET zz_m0001_cooperativa_id = NEW.cooperativa_id, activo = NEW.activo
    WHERE id = NEW.usuario_id
      AND (zz_m0001_cooperativa_id, activo) IS DISTINCT FROM (NEW.cooperativa_id, NEW.activo);
  END IF;
  RETURN NULL;
END $f$;

CREATE OR REPLACE FUNCTION sereno_0001_rol() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  IF NEW.usuario_cooperativa_id IS NOT NULL THEN
    SELECT usuario_id, cooperativa_id INTO STRICT NEW.zz_m0001_usuario_id, NEW.zz_m0001_cooperativa_id
    FROM "UsuarioCooperativa" WHERE id = NEW.usuario_cooperativa_id;
  END IF;
  RETURN NEW;
END $f$;

-- A role without a cooperative is in both tables: granted, changed and revoked in either. One that
-- is granted while it is revoked is seen only by whoever waits for the other: the user is locked.
CREATE OR REPLACE FUNCTION sereno_0001_global() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  IF NOT (TG_OP <> 'INSERT' AND OLD.zz_m0001_cooperativa_id IS NULL OR TG_OP <> 'DELETE' AND NEW.zz_m0001_cooperativa_id IS NULL) THEN
    RETURN NULL;
  END IF;
  PERFORM FROM "Usuario" WHERE id IN (OLD.zz_m0001_usuario_id, NEW.zz_m0001_usuario_id) ORDER BY id FOR NO KEY UPDATE;
  IF TG_OP <> 'INSERT' AND OLD.zz_m0001_cooperativa_id IS NULL THEN
    DELETE FROM "UsuarioRolGlobal" g
    WHERE g.usuario_id = OLD.zz_m0001_usuario_id AND g.rol_id = OLD.rol_id
      AND NOT EXISTS (SELECT FROM "UsuarioRol" r WHERE r.zz_m0001_usuario_id = OLD.zz_m0001_usuario_id
                      AND r.rol_id = OLD.rol_id AND r.zz_m0001_cooperativa_id IS NULL);
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.zz_m0001_cooperativa_id IS NULL THEN
    INSERT INTO "UsuarioRolGlobal" (usuario_id, rol_id) VALUES (NEW.zz_m0001_usuario_id, NEW.rol_id)
    ON CONFLICT (usuario_id, rol_id) DO NOTHING;
  END IF;
  RETURN NULL;
END $f$;

CREATE OR REPLACE FUNCTION sereno_0001_copia_global() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  PERFORM FROM "Usuario" WHERE id IN (OLD.usuario_id, NEW.usuario_id) ORDER BY id FOR NO KEY UPDATE;
  IF TG_OP <> 'INSERT' THEN
    DELETE FROM "UsuarioRol"
    WHERE zz_m0001_usuario_id = OLD.usuario_id AND rol_id = OLD.rol_id AND zz_m0001_cooperativa_id IS NULL;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO "UsuarioRol" (id, zz_m0001_usuario_id, rol_id)
    SELECT gen_random_uuid()::text, NEW.usuario_id, NEW.rol_id
    WHERE NOT EXISTS (SELECT FROM "UsuarioRol" r WHERE r.zz_m0001_usuario_id = NEW.usuario_id
                      AND r.rol_id = NEW.rol_id AND r.zz_m0001_cooperativa_id IS NULL);
  END IF;
  RETURN NULL;
END $f$;

-- The new application changes "Usuario".activo too, beside its memberships.
CREATE OR REPLACE FUNCTION sereno_0001_usuario() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  UPDATE "UsuarioCooperativa" SET activo = NEW.activo
  WHERE usuario_id = NEW.id AND es_principal AND activo IS DISTINCT FROM NEW.activo;
  RETURN NULL;
END $f$;
CREATE TRIGGER sereno_0001 AFTER UPDATE OF activo ON "Usuario"
  FOR EACH ROW EXECUTE FUNCTION sereno_0001_usuario();
