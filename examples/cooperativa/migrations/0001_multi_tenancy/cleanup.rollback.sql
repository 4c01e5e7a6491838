-- No statement may be inside a trigger that is replaced here: it would still read the former names.
LOCK TABLE "UsuarioCooperativa", "UsuarioRolGlobal" IN SHARE ROW EXCLUSIVE MODE;
DROP TRIGGER sereno_0001 ON "Usuario";
ALTER TABLE "Usuario" RENAME COLUMN zz_m0001_cooperativa_id TO cooperativa_id;
ALTER TABLE "UsuarioRol" RENAME COLUMN zz_m0001_usuario_id TO usuario_id;
ALTER TABLE "UsuarioRol" RENAME COLUMN zz_m0001_cooperativa_id TO cooperativa_id;

-- The old application writes "Usuario": its cooperative is the principal membership.
CREATE OR REPLACE FUNCTION sereno_0001_usuario() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  UPDATE "UsuarioCooperativa" SET es_principal = false
  WHERE usuario_id = NEW.id AND es_principal AND cooperativa_id IS DISTINCT FROM NEW.cooperativa_id;
  IF NEW.cooperativa_id IS NOT NULL THEN
    INSERT INTO "UsuarioCooperativa" AS uc (usuario_id, cooperativa_id, es_principal, activo, fecha_ingreso)
    VALUES (NEW.id, NEW.cooperativa_id, true, coalesce(NEW.activo, true),
            coalesce(NEW.fecha_creacion AT TIME ZONE 'UTC', now()))
    ON CONFLICT (usuario_id, cooperativa_id) DO UPDATE
    SET es_principal = true, activo = excluded.activo
    WHERE (uc.es_principal, uc.activo) IS DISTINCT FROM (true, excluded.activo);
  END IF;
  RETURN NULL;
END $f$;

CREATE TRIGGER sereno_0001 AFTER INSERT OR UPDATE OF cooperativa_id, activo ON "Usuario"
  FOR EACH ROW EXECUTE FUNCTION sereno_0001_usuario();

-- The new application writes memberships: the principal one is the cooperative of "Usuario".
CREATE OR REPLACE FUNCTION sereno_0001_membresia() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  IF TG_OP <> 'INSERT' AND OLD.es_principal
     AND (TG_OP = 'DELETE' OR NOT NEW.es_principal OR NEW.cooperativa_id <> OLD.cooperativa_id) THEN
    UPDATE "Usuario" SET cooperativa_id = NULL
    WHERE id = OLD.usuario_id AND cooperativa_id = OLD.cooperativa_id;
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.es_principal THEN
    UPDATE "Usuario" SET cooperativa_id = NEW.cooperativa_id, activo = NEW.activo
    WHERE id = NEW.usuario_id
      AND (cooperativa_id, activo) IS DISTINCT FROM (NEW.cooperativa_id, NEW.activo);
  END IF;
  RETURN NULL;
END $f$;

-- A row of "UsuarioRol" carries both shapes, whichever application writes it.
CREATE OR REPLACE FUNCTION sereno_0001_rol() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  IF NEW.usuario_cooperativa_id IS NOT NULL
     AND (TG_OP = 'INSERT' OR NEW.usuario_cooperativa_id IS DISTINCT FROM OLD.usuario_cooperativa_id) THEN
    SELECT usuario_id, cooperativa_id INTO STRICT NEW.usuario_id, NEW.cooperativa_id
    FROM "UsuarioCooperativa" WHERE id = NEW.usuario_cooperativa_id;
  ELSIF NEW.cooperativa_id IS NULL THEN
    NEW.usuario_cooperativa_id := NULL;
  ELSE
    INSERT INTO "UsuarioCooperativa" (usuario_id, cooperativa_id)
    VALUES (NEW.usuario_id, NEW.cooperativa_id)
    ON CONFLICT (usuario_id, cooperativa_id) DO NOTHING;
    SELECT id INTO STRICT NEW.usuario_cooperativa_id FROM "UsuarioCooperativa"
    WHERE usuario_id = NEW.usuario_id AND cooperativa_id = NEW.cooperativa_id;
  END IF;
  RETURN NEW;
END $f$;

-- A role without a cooperative is in both tables: granted, changed and revoked in either. One that
-- is granted while it is revoked is seen only by whoever waits for the other: the user is locked.
CREATE OR REPLACE FUNCTION sereno_0001_global() RETURNS trigger
LANGUAGE plpgsql SET search_path = public, pg_temp AS $f$
BEGIN
  IF NOT (TG_OP <> 'INSERT' AND OLD.cooperativa_id IS NULL OR TG_OP <> 'DELETE' AND NEW.cooperativa_id IS NULL) THEN
    RETURN NULL;
  END IF;
  PERFORM FROM "Usuario" WHERE id IN (OLD.usuario_id, NEW.usuario_id) ORDER BY id FOR NO KEY UPDATE;
  IF TG_OP <> 'INSERT' AND OLD.cooperativa_id IS NULL THEN
    DELETE FROM "UsuarioRolGlobal" g
    WHERE g.usuario_id = OLD.usuario_id AND g.rol_id = OLD.rol_id
      AND NOT EXISTS (SELECT FROM "UsuarioRol" r WHERE r.usuario_id = OLD.usuario_id
                      AND r.rol_id = OLD.rol_id AND r.cooperativa_id IS NULL);
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.cooperativa_id IS NULL THEN
    INSERT INTO "UsuarioRolGlobal" (usuario_id, rol_id) VALUES (NEW.usuario_id, NEW.rol_id)
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
    WHERE usuario_id = OLD.usuario_id AND rol_id = OLD.rol_id AND cooperativa_id IS NULL;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO "UsuarioRol" (id, usuario_id, rol_id)
    SELECT gen_random_uuid()::text, NEW.usuario_id, NEW.rol_id
    WHERE NOT EXISTS (SELECT FROM "UsuarioRol" r WHERE r.usuario_id = NEW.usuario_id
                      AND r.rol_id = NEW.rol_id AND r.cooperativa_id IS NULL);
  END IF;
  RETURN NULL;
END $f$;
